//! How to reach the store.

use clap::Args;
use secrecy::SecretString;
use url::Url;

/// Where the bucket is, and with what credentials.
#[derive(Args, Debug, Clone)]
pub struct BlobsConfig {
    /// The S3 endpoint as the services reach it, such as `http://127.0.0.1:8333`.
    #[arg(long, env = "S3_ENDPOINT", value_name = "S3_ENDPOINT", value_parser = parse_endpoint)]
    pub s3_endpoint: Url,

    /// The region requests are signed for.
    #[arg(long, env = "S3_REGION", value_name = "S3_REGION", default_value = "us-east-1")]
    pub s3_region: String,

    /// The bucket for inputs and artifacts.
    #[arg(long, env = "S3_BUCKET", value_name = "S3_BUCKET", value_parser = parse_bucket)]
    pub s3_bucket: String,

    /// The access key's id.
    #[arg(long, env = "S3_ACCESS_KEY_ID", value_name = "S3_ACCESS_KEY_ID", value_parser = parse_text)]
    pub s3_access_key_id: String,

    /// The access key's secret.
    #[arg(
        long,
        env = "S3_SECRET_ACCESS_KEY",
        value_name = "S3_SECRET_ACCESS_KEY",
        hide_env_values = true,
        value_parser = parse_secret
    )]
    pub s3_secret_access_key: SecretString,

    /// The S3 endpoint as callers reach it. Where it is set, results are served by redirects to presigned
    /// URLs; else they are streamed.
    #[arg(
        long,
        env = "S3_PUBLIC_ENDPOINT",
        value_name = "S3_PUBLIC_ENDPOINT",
        value_parser = parse_endpoint
    )]
    pub s3_public_endpoint: Option<Url>,
}

fn parse_endpoint(text: &str) -> Result<Url, String> {
    let expected = "expected an http:// or https:// URL without user, query or fragment";
    let url = Url::parse(text).map_err(|error| format!("{expected}: {error}"))?;
    let plain = url.username().is_empty() && url.query().is_none() && url.fragment().is_none();
    if matches!(url.scheme(), "http" | "https") && url.has_host() && plain {
        Ok(url)
    } else {
        Err(expected.to_owned())
    }
}

fn parse_bucket(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte);
    if (3..=63).contains(&text.len()) && text.bytes().all(plain) {
        Ok(text.to_owned())
    } else {
        Err("expected 3 to 63 lower-case letters, digits, `.` and `-`".to_owned())
    }
}

fn parse_text(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("must not be empty".to_owned()) } else { Ok(text.to_owned()) }
}

fn parse_secret(text: &str) -> Result<SecretString, String> {
    parse_text(text).map(SecretString::from)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser, Debug)]
    struct Settings {
        #[command(flatten)]
        blobs: BlobsConfig,
    }

    fn parse(arguments: &[&str]) -> Result<BlobsConfig, clap::Error> {
        let needed = [
            "service",
            "--s3-endpoint=http://127.0.0.1:8333",
            "--s3-bucket=darkroom",
            "--s3-access-key-id=key",
            "--s3-secret-access-key=hush",
        ];
        let kept = needed.iter().filter(|needed| {
            let name = needed.split('=').next().unwrap();
            !arguments.iter().any(|argument| argument.starts_with(&format!("{name}=")))
        });
        Settings::try_parse_from(kept.chain(arguments)).map(|settings| settings.blobs)
    }

    #[test]
    fn region_and_public_endpoint_are_optional() {
        let config = parse(&[]).unwrap();
        assert_eq!(config.s3_region, "us-east-1");
        assert_eq!(config.s3_public_endpoint, None);
        assert!(!format!("{config:?}").contains("hush"));
    }

    #[test]
    fn refusals_name_the_variable_and_what_is_allowed() {
        let refusal = |argument: &str| parse(&[argument]).unwrap_err().to_string();
        insta::assert_snapshot!(refusal("--s3-endpoint=localhost:8333"), @r"
        error: invalid value 'localhost:8333' for '--s3-endpoint <S3_ENDPOINT>': expected an http:// or https:// URL without user, query or fragment

        For more information, try '--help'.
        ");
        insta::assert_snapshot!(refusal("--s3-bucket=My Bucket"), @r"
        error: invalid value 'My Bucket' for '--s3-bucket <S3_BUCKET>': expected 3 to 63 lower-case letters, digits, `.` and `-`

        For more information, try '--help'.
        ");
        insta::assert_snapshot!(refusal("--s3-secret-access-key="), @r"
        error: invalid value '' for '--s3-secret-access-key <S3_SECRET_ACCESS_KEY>': must not be empty

        For more information, try '--help'.
        ");
    }
}
