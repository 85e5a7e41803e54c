//! SeaweedFS: master, volume server, filer and S3 gateway in one process.

use std::process::{Command, Stdio};

use anyhow::Result;
use serde_json::json;

use super::ports::Port;
use super::{Component, Stack, State, files};
use crate::programs::WEED;

/// The server. It writes its log to stderr.
pub(crate) fn command(stack: &Stack, state: &State) -> Result<Command> {
    let dir = stack.data_dir(Component::Seaweedfs);
    files::create_dir(&dir)?;
    let identities = dir.join("s3.json");
    files::write_json(
        &identities,
        &json!({
            "identities": [{
                "name": "darkroom",
                "credentials": [{
                    "accessKey": state.secrets.s3_access_key_id,
                    "secretKey": state.secrets.s3_secret_access_key,
                }],
                "actions": ["Admin", "Read", "List", "Tagging", "Write"],
            }],
        }),
    )?;
    // Read from the working directory. One volume a bucket is plenty here; seven is the default.
    files::write_private(&dir.join("master.toml"), "[master.volume_growth]\ncopy_1 = 1\n")?;

    let mut command = Command::new(WEED.path()?);
    command.current_dir(&dir).env("HOME", &dir).stdin(Stdio::null());
    command.args(["-logtostderr=true", "server", "-dir=."]);
    command.args([
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-master=true",
        "-volume=true",
        "-filer=true",
        "-s3",
    ]);
    command.args(["-webdav=false", "-sftp=false", "-iam=false", "-mq.broker=false"]);
    command.args(["-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false"]);
    command.args(["-master.volumeSizeLimitMB=256", "-volume.max=4000", "-volume.preStopSeconds=0"]);
    // There is nobody to elect; the default makes every restart wait ten seconds and more.
    command.arg("-master.electionTimeout=1s");
    // These two sockets would otherwise lie in /tmp.
    command.args(["-filer.localSocket=filer.sock", "-s3.localSocket=s3.sock"]);
    command.arg(format!("-s3.config={}", identities.display()));
    for (flag, port) in [
        ("s3.port", Port::S3),
        ("s3.port.grpc", Port::S3Grpc),
        ("filer.port", Port::Filer),
        ("filer.port.grpc", Port::FilerGrpc),
        ("master.port", Port::Master),
        ("master.port.grpc", Port::MasterGrpc),
        ("volume.port", Port::Volume),
        ("volume.port.grpc", Port::VolumeGrpc),
    ] {
        command.arg(format!("-{flag}={}", state.port(port)));
    }
    Ok(command)
}

/// Deletes the sockets that its gRPC servers open beside their ports, at names nobody can choose, and leave.
pub(crate) fn remove_sockets(state: &State) {
    for (server, port) in [
        ("master", Port::MasterGrpc),
        ("volume", Port::VolumeGrpc),
        ("filer", Port::FilerGrpc),
        ("s3", Port::S3Grpc),
    ] {
        let _ = std::fs::remove_file(format!("/tmp/seaweedfs-{server}-grpc-{}.sock", state.port(port)));
    }
}
