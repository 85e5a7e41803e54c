//! Absolute URLs, and the signatures that stand in those of results.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use darkroom_jobs::{ArtifactId, JobId, TenantId};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use url::Url;
use uuid::Uuid;

use crate::UrlSecret;

/// Makes URLs under the service's public address.
///
/// A result's URL is a capability: whoever has it can read the result, and nobody can make one without the
/// secret. It stays the same for as long as the result is kept.
#[derive(Debug)]
pub struct Links {
    base: String,
    secret: UrlSecret,
}

/// A result's file name, `{artifact}.{extension}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResultName {
    /// Which result.
    pub artifact: ArtifactId,
    /// The ending that stands for its media type.
    pub extension: &'static str,
}

impl Links {
    /// URLs under `public`, signed with `secret`.
    pub fn new(public: &Url, secret: UrlSecret) -> Self {
        Self { base: public.as_str().trim_end_matches('/').to_owned(), secret }
    }

    /// A job.
    pub fn job(&self, id: JobId) -> String {
        format!("{}/v1/jobs/{id}", self.base)
    }

    /// Where to cancel a job.
    pub fn cancel(&self, id: JobId) -> String {
        format!("{}/v1/jobs/{id}/cancel", self.base)
    }

    /// Any path of the service; it begins with a slash.
    pub fn path(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// A result of this media type.
    pub fn result(&self, artifact: ArtifactId, content_type: &str) -> String {
        self.result_below("/r", artifact, content_type)
    }

    /// The same below another path than usual, which begins with a slash.
    pub fn result_below(&self, path: &str, artifact: ArtifactId, content_type: &str) -> String {
        let name = ResultName { artifact, extension: extension(content_type) };
        let signature = BASE64_URL_SAFE_NO_PAD.encode(self.mac(name).finalize().into_bytes());
        format!("{}{path}/{name}?sig={signature}", self.base)
    }

    /// Whether `signature` was made by [`Self::result`]. Takes the same time for every wrong one.
    pub fn verify(&self, name: ResultName, signature: &str) -> bool {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap_or_default();
        self.mac(name).verify_slice(&bytes).is_ok()
    }

    /// A token with which a tenant's job can be followed without a key.
    pub fn follow_token(&self, tenant: TenantId, job: JobId) -> String {
        let mac = self.follow_mac(tenant, job).finalize().into_bytes();
        BASE64_URL_SAFE_NO_PAD.encode([&tenant.as_uuid().as_bytes()[..], &mac[..]].concat())
    }

    /// The tenant of whose `job` [`Self::follow_token`] made this token. Takes the same time for every wrong one.
    pub fn follower(&self, job: JobId, token: &str) -> Option<TenantId> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).ok()?;
        let (tenant, mac) = bytes.split_at_checked(16)?;
        let tenant = TenantId::from_uuid(Uuid::from_slice(tenant).ok()?);
        self.follow_mac(tenant, job).verify_slice(mac).ok()?;
        Some(tenant)
    }

    fn mac(&self, name: ResultName) -> Hmac<Sha256> {
        self.mac_of(&name.to_string())
    }

    /// No result's name begins like this.
    fn follow_mac(&self, tenant: TenantId, job: JobId) -> Hmac<Sha256> {
        self.mac_of(&format!("follow {tenant} {job}"))
    }

    fn mac_of(&self, text: &str) -> Hmac<Sha256> {
        let mac = Hmac::new_from_slice(self.secret.bytes());
        // HMAC takes keys of any length.
        let mut mac: Hmac<Sha256> = mac.unwrap_or_else(|_| unreachable!("a key of any length will do"));
        mac.update(text.as_bytes());
        mac
    }
}

/// Extensions by media type. The signature covers the extension, so that a URL cannot be made to look like
/// something else.
const EXTENSIONS: [(&str, &str); 4] =
    [("image/png", "png"), ("image/jpeg", "jpg"), ("image/webp", "webp"), ("text/plain", "txt")];
const OTHER: &str = "bin";

fn extension(content_type: &str) -> &'static str {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    EXTENSIONS.iter().find(|(known, _)| *known == essence).map_or(OTHER, |(_, extension)| extension)
}

impl ResultName {
    /// Reads a file name; `None` for one that this service never gave out.
    pub fn parse(file: &str) -> Option<Self> {
        let (artifact, extension) = file.split_once('.')?;
        let known = EXTENSIONS.iter().map(|(_, known)| *known).chain([OTHER]);
        let extension = known.into_iter().find(|known| *known == extension)?;
        let name = Self { artifact: artifact.parse().ok()?, extension };
        (name.to_string() == file).then_some(name)
    }
}

impl std::fmt::Display for ResultName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.artifact, self.extension)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links(secret: &str) -> Links {
        let url = Url::parse("https://pictures.example/darkroom/").unwrap();
        Links::new(&url, UrlSecret::parse(&secret.repeat(32).into()).unwrap())
    }

    fn artifact() -> ArtifactId {
        "0190b6f2-8c3e-7d4a-9f10-3b1f5a2c7e01".parse().unwrap()
    }

    #[test]
    fn result_urls_are_stable_and_stand_under_the_public_address() {
        insta::assert_snapshot!(links("5a").result(artifact(), "text/plain; charset=utf-8"), @"https://pictures.example/darkroom/r/0190b6f2-8c3e-7d4a-9f10-3b1f5a2c7e01.txt?sig=Odt8KBHnVODVbz6gRlv-bSAxhfZ3UYnFVzGlRbaEmmg");
        insta::assert_snapshot!(links("5a").job(JobId::from_uuid(artifact().as_uuid())), @"https://pictures.example/darkroom/v1/jobs/0190b6f2-8c3e-7d4a-9f10-3b1f5a2c7e01");
    }

    #[test]
    fn a_signature_opens_one_name_under_one_secret() {
        let url = links("5a").result(artifact(), "image/png");
        let (file, signature) = url.rsplit_once('/').unwrap().1.split_once("?sig=").unwrap();
        let name = ResultName::parse(file).unwrap();
        assert!(links("5a").verify(name, signature));
        assert!(!links("5b").verify(name, signature));
        assert!(!links("5a").verify(ResultName { extension: "txt", ..name }, signature));
        for wrong in ["", "x", &signature[1..], &format!("{signature}A"), "*"] {
            assert!(!links("5a").verify(name, wrong), "{wrong}");
        }
    }

    #[test]
    fn a_token_follows_one_job_of_one_tenant() {
        let [tenant, job] = [1, 2].map(Uuid::from_u128);
        let (tenant, job) = (TenantId::from_uuid(tenant), JobId::from_uuid(job));
        let token = links("5a").follow_token(tenant, job);
        assert_eq!(links("5a").follower(job, &token), Some(tenant));
        assert_eq!(links("5b").follower(job, &token), None);
        assert_eq!(links("5a").follower(JobId::from_uuid(Uuid::from_u128(3)), &token), None);
        let other = links("5a").follow_token(TenantId::from_uuid(Uuid::from_u128(9 << 100)), job);
        let mixed = format!("{}{}", &other[..20], &token[20..]);
        for wrong in ["", "x", &token[1..], &mixed] {
            assert_eq!(links("5a").follower(job, wrong), None, "{wrong}");
        }
    }

    #[test]
    fn only_names_in_the_form_given_out_are_read() {
        let file = format!("{}.png", artifact());
        assert_eq!(ResultName::parse(&file).unwrap().to_string(), file);
        for wrong in [file.to_uppercase(), file.replace('-', ""), format!("{}.exe", artifact()), "x".into()] {
            assert_eq!(ResultName::parse(&wrong), None, "{wrong}");
        }
    }
}
