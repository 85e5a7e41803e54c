//! Stacks that were moved or copied, as happens to a checkout with all that is in it.
//!
//! A stack marks its processes by its id, and its state names folders. A moved stack keeps both; a copy must
//! have its own, or it would end the processes of the original and write to its database.

use anyhow::Result;

use super::{Stack, State, files};
use crate::progress::note;

/// Makes `stack` fit the folder it lies in. The caller holds the lock of its state. Returns false where there
/// is no stack, or only the copy of one, which is removed.
pub(super) fn settle(stack: &Stack) -> Result<bool> {
    let Some(mut state) = stack.read_state()? else { return Ok(false) };
    if state.home == stack.dir {
        return Ok(true);
    }
    let original = files::read_json::<State>(&state.home.join(super::STATE_FILE)).ok().flatten();
    if original.is_some_and(|original| original.id == state.id) {
        note(format!(
            "{} is a copy of {} and starts afresh, without its data",
            stack.dir.display(),
            state.home.display()
        ));
        for file in [stack.state_file(), stack.wanted_file(), stack.running_file()] {
            files::remove_file(&file)?;
        }
        files::remove_dir(&stack.dir.join("data"))?;
        return Ok(false);
    }
    if let Ok(inside) = state.postgres_dir.strip_prefix(&state.home) {
        state.postgres_dir = stack.dir.join(inside);
    }
    state.home.clone_from(&stack.dir);
    files::write_json(&stack.state_file(), &state)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::stack::Lifetime;

    /// A stack with a file of data in it. Nothing is started.
    fn stack(dir: &Path) -> State {
        let stack = Stack::create(dir, Lifetime::Throwaway).unwrap();
        let folder = stack.dir().join("data/postgres");
        files::create_dir(&folder).unwrap();
        fs::write(folder.join("rows"), "").unwrap();
        stack
            .update(|state| {
                state.postgres_dir = folder;
                Ok(())
            })
            .unwrap()
    }

    #[test]
    fn moved_stack_keeps_its_id_and_its_data() {
        let temporary = tempfile::tempdir().unwrap();
        let (old, new) = (temporary.path().join("old"), temporary.path().join("new"));
        let before = stack(&old);
        fs::rename(&old, &new).unwrap();
        let after = Stack::find(&new).unwrap().unwrap().state().unwrap();
        assert_eq!(after.id, before.id);
        assert!(after.postgres_dir.starts_with(new.canonicalize().unwrap()));
        assert!(after.postgres_dir.join("rows").exists());
    }

    #[test]
    fn copied_stack_leaves_the_original_alone() {
        let temporary = tempfile::tempdir().unwrap();
        let (original, copy) = (temporary.path().join("original"), temporary.path().join("copy"));
        let before = stack(&original);
        files::create_dir(&copy).unwrap();
        fs::copy(original.join("stack.json"), copy.join("stack.json")).unwrap();
        assert!(Stack::find(&copy).unwrap().is_none());
        let fresh = Stack::create(&copy, Lifetime::Throwaway).unwrap().state().unwrap();
        assert_ne!(fresh.id, before.id);
        assert_ne!(fresh.postgres_dir, before.postgres_dir);
        assert!(before.postgres_dir.join("rows").exists());
    }
}
