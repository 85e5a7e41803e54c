//! What a file's bytes add up to.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use super::listing::Digest;

/// Read at a time.
const BLOCK_BYTES: usize = 1 << 20;

/// The digest of the file at `path` of the same kind as `like`. Takes seconds for gigabytes: not for async
/// code.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn of_file(path: &Path, like: &Digest) -> io::Result<Digest> {
    let file = File::open(path)?;
    match like {
        Digest::Sha256(_) => hash(file, Sha256::new()).map(Digest::Sha256),
        Digest::GitBlob(_) => {
            let mut sha1 = Sha1::new();
            sha1.update(format!("blob {}\0", file.metadata()?.len()));
            hash(file, sha1).map(Digest::GitBlob)
        }
    }
}

fn hash(mut file: File, mut hash: impl sha2::Digest) -> io::Result<String> {
    let mut block = vec![0; BLOCK_BYTES];
    loop {
        match file.read(&mut block)? {
            0 => break,
            read => hash.update(&block[..read]),
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_add_up_as_git_and_sha256sum_say() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("greeting");
        std::fs::write(&path, "hello\n").unwrap();
        // `git hash-object` and `sha256sum` of the same file.
        let git = Digest::GitBlob("ce013625030ba8dba906f756967f9e9ca394464a".to_owned());
        let sha = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
        let sha256 = Digest::Sha256(sha.to_owned());
        assert_eq!(of_file(&path, &git).unwrap(), git);
        assert_eq!(of_file(&path, &sha256).unwrap(), sha256);
    }
}
