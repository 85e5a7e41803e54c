//! Named points of the code at which a test has the process die, stand still or panic. Debug builds alone have them.

/// Passes the point `name`.
///
/// Where `DARKROOM_CRASH_POINT` is `kill@name`, the process gets SIGKILL here, as if somebody had killed it; with
/// `stop@name` SIGSTOP, until somebody continues it; with `panic@name` the caller panics. `kill@name#3` means the
/// third pass. It happens once. In a release build this is nothing.
pub fn crash_point(name: &str) {
    #[cfg(debug_assertions)]
    armed::pass(name);
    #[cfg(not(debug_assertions))]
    let _ = name;
}

#[cfg(debug_assertions)]
mod armed {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    use rustix::process::{Signal, getpid, kill_process};

    static ARMED: LazyLock<Option<Armed>> = LazyLock::new(|| {
        #[expect(clippy::disallowed_methods, reason = "no setting: users do not have it")]
        let text = std::env::var("DARKROOM_CRASH_POINT").ok()?;
        let armed = Armed::parse(&text);
        if armed.is_none() {
            tracing::error!(text, "DARKROOM_CRASH_POINT: expected kill@, stop@ or panic@ and a point");
        }
        armed
    });

    #[derive(Debug)]
    struct Armed {
        action: Action,
        point: String,
        /// Passes left until it happens; goes on below zero.
        passes: AtomicU32,
    }

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Action {
        Kill,
        Stop,
        Panic,
    }

    pub(super) fn pass(point: &str) {
        let Some(armed) = &*ARMED else { return };
        if armed.point == point && armed.passes.fetch_sub(1, Ordering::Relaxed) == 1 {
            armed.action.perform(point);
        }
    }

    impl Armed {
        fn parse(text: &str) -> Option<Self> {
            let (action, rest) = text.split_once('@')?;
            let (point, pass) = rest.split_once('#').unwrap_or((rest, "1"));
            let action = match action {
                "kill" => Action::Kill,
                "stop" => Action::Stop,
                "panic" => Action::Panic,
                _ => return None,
            };
            let pass = pass.parse().ok().filter(|pass| *pass > 0)?;
            Some(Self { action, point: point.to_owned(), passes: AtomicU32::new(pass) })
        }
    }

    impl Action {
        fn perform(self, point: &str) {
            tracing::warn!(point, action = ?self, "crash point");
            let signal = match self {
                Self::Kill => Signal::KILL,
                Self::Stop => Signal::STOP,
                Self::Panic => panic!("crash point {point}"),
            };
            if let Err(error) = kill_process(getpid(), signal) {
                tracing::error!(%error, "failed to signal this process");
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn points_are_armed_by_action_and_pass() {
            let armed = Armed::parse("kill@worker.settled").unwrap();
            assert_eq!((armed.action, &armed.point[..]), (Action::Kill, "worker.settled"));
            let armed = Armed::parse("stop@worker.stepped#7").unwrap();
            assert_eq!((armed.action, armed.passes.into_inner()), (Action::Stop, 7));
            for wrong in ["", "kill", "burn@x", "kill@x#0", "kill@x#soon"] {
                assert!(Armed::parse(wrong).is_none(), "{wrong}");
            }
        }
    }
}
