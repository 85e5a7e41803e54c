//! RabbitMQ: one node with a port mapper, ports, home and cookie of its own.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use super::ports::Port;
use super::{Component, Stack, State, files};
use crate::programs;

/// The node's name. Its port mapper knows no other.
const NODE: &str = "darkroom@localhost";

/// The user the services log in as.
pub(crate) const USER: &str = "darkroom";

/// Erlang's port mapper in the foreground. A node that finds one on its port starts none, so this is the only
/// one and ends with the stack.
pub(crate) fn epmd_command(state: &State) -> Result<Command> {
    let mut command = clean(programs::epmd()?.as_os_str());
    command.args(["-address", "127.0.0.1", "-port", &state.port(Port::Epmd).to_string()]);
    Ok(command)
}

/// The node.
pub(crate) fn command(stack: &Stack, state: &State) -> Result<Command> {
    let dir = stack.data_dir(Component::Rabbitmq);
    files::create_dir(&dir)?;
    let config = dir.join("rabbitmq.conf");
    files::write_private(&config, &configuration(state))?;
    let plugins = dir.join("enabled_plugins");
    files::write_private(&plugins, "[].\n")?;
    let environment = dir.join("rabbitmq-env.conf");
    files::write_private(&environment, "")?;
    let cookie = dir.join(".erlang.cookie");
    if !cookie.exists() {
        files::write_private(&cookie, &state.secrets.erlang_cookie)?;
        fs::set_permissions(&cookie, Permissions::from_mode(0o400))
            .with_context(|| format!("failed to change the mode of {}", cookie.display()))?;
    }

    let mut command = clean(programs::rabbitmq_server()?.as_os_str());
    command.current_dir(&dir).env("HOME", &dir).env("RABBITMQ_NODENAME", NODE);
    command.env("RABBITMQ_MNESIA_BASE", dir.join("mnesia"));
    command.env("RABBITMQ_LOG_BASE", stack.log_dir());
    command.env("RABBITMQ_LOGS", "-");
    command.env("RABBITMQ_CONFIG_FILE", config);
    // Their defaults lie in /etc/rabbitmq and belong to the machine's own broker.
    command.env("RABBITMQ_CONF_ENV_FILE", environment);
    command.env("RABBITMQ_ADVANCED_CONFIG_FILE", dir.join("advanced.config"));
    command.env("RABBITMQ_CONFIG_FILES", dir.join("conf.d"));
    command.env("RABBITMQ_ENABLED_PLUGINS_FILE", plugins);
    command.env("RABBITMQ_GENERATED_CONFIG_DIR", dir.join("generated"));
    command.env("RABBITMQ_PID_FILE", dir.join("rabbitmq.pid"));
    command.env("RABBITMQ_DIST_PORT", state.port(Port::ErlangDistribution).to_string());
    command.env("ERL_EPMD_PORT", state.port(Port::Epmd).to_string());
    command.env("ERL_EPMD_ADDRESS", "127.0.0.1");
    // Has the start script replace itself by the Erlang machine, so that the supervisor's child is the broker.
    command.env("RUNNING_UNDER_SYSTEMD", "true");
    // Distribution on the loopback address only, and no spinning schedulers on a machine that has other work.
    command.env(
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
        "-kernel inet_dist_use_interface {127,0,0,1} +sbwt none +sbwtdcpu none +sbwtdio none",
    );
    Ok(command)
}

/// `rabbitmqctl` for the node, which must run.
pub(crate) fn control(stack: &Stack, state: &State) -> Result<Command> {
    let dir = stack.data_dir(Component::Rabbitmq);
    let mut command = clean(programs::rabbitmqctl()?.as_os_str());
    command.current_dir(&dir).env("HOME", &dir).env("RABBITMQ_NODENAME", NODE);
    command.env("RABBITMQ_CONF_ENV_FILE", dir.join("rabbitmq-env.conf"));
    command.env("ERL_EPMD_PORT", state.port(Port::Epmd).to_string());
    Ok(command)
}

/// Deletes everything the broker knows: queues, messages, users. It must not run.
pub(crate) fn wipe(stack: &Stack) -> Result<()> {
    files::remove_dir(&stack.data_dir(Component::Rabbitmq).join("mnesia"))
}

fn configuration(state: &State) -> String {
    format!(
        "# Written by `cargo xtask` at each start.\n\
         listeners.tcp.loopback = 127.0.0.1:{port}\n\
         default_user = {USER}\n\
         default_pass = {password}\n\
         log.console = true\n\
         log.console.level = info\n\
         log.file = false\n\
         # The default sets half a gigabyte aside for the log of quorum queues.\n\
         raft.wal_max_size_bytes = 67108864\n\
         disk_free_limit.absolute = 100MB\n",
        port = state.port(Port::Amqp),
        password = state.secrets.amqp_password,
    )
}

/// A command without the settings of a broker the machine may have.
fn clean(program: &std::ffi::OsStr) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if ["RABBITMQ_", "ERL_", "NOTIFY_SOCKET"].iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}
