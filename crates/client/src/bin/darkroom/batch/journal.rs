//! What was done of a batch, so that it can go on wherever it ended.
//!
//! The journal is a file of JSON lines to which is only appended. What is about to be submitted is on the disk before it
//! is, with the files that its pictures were sent as: whoever goes on submits the very same under the same key, and finds
//! the batch that is there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, TryLockError};
use std::io::{Read as _, Write as _};
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use darkroom_client::Failure;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::input::Input;
use super::results::{End, Ended};

pub(super) const NAME: &str = "journal.jsonl";

/// How the first line begins.
const BEGINNING: &[u8] = b"{\"begun\":";

/// A line of the journal.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Record {
    Begun {
        id: Uuid,
        input_sha256: String,
    },
    Submitting(Chunk),
    Accepted {
        chunk: u32,
        batch: Uuid,
        jobs: BTreeMap<Uuid, usize>,
        refused: BTreeMap<usize, Failure>,
    },
    /// As a whole; those that are to blame are named.
    Refused {
        chunk: u32,
        refused: BTreeMap<usize, Failure>,
    },
    Ended(Ended),
}

/// Lines that are submitted at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Chunk {
    /// Which one, from 0.
    pub(super) number: u32,
    /// The lines' numbers.
    pub(super) lines: Vec<usize>,
    /// The files that pictures were sent as, by line.
    pub(super) files: BTreeMap<usize, Uuid>,
}

/// A chunk that became a batch of the service.
#[derive(Debug, Clone)]
pub(super) struct Accepted {
    pub(super) batch: Uuid,
    /// Lines of the jobs that have not ended.
    pub(super) open: BTreeMap<Uuid, usize>,
}

/// The journal of one folder, which nobody else has meanwhile.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    length: u64,
    folder: File,
    id: Uuid,
    chunks: u32,
    /// The chunk of which it is not known whether it was accepted.
    pub(super) pending: Option<Chunk>,
    pub(super) accepted: Vec<Accepted>,
    pub(super) ended: BTreeMap<usize, Ended>,
    /// How many lines ended how.
    pub(super) counts: BTreeMap<End, usize>,
}

impl Journal {
    /// Opens the journal in `folder`, or begins one.
    ///
    /// # Errors
    /// When it is of another input, damaged, or in use.
    pub(super) fn open(folder: &Path, input: &Input) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("failed to create {}", folder.display()))?;
        let path = folder.join(NAME);
        let failed = || format!("failed to open {}", path.display());
        let mut file =
            File::options().read(true).append(true).create(true).open(&path).with_context(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                bail!("another `darkroom batch` is at work on {}", folder.display())
            }
            Err(TryLockError::Error(error)) => return Err(error).with_context(failed),
        }
        let mut text = Vec::new();
        file.read_to_end(&mut text).with_context(failed)?;
        // What was being written when the power went.
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let is_ours = whole > 0 || BEGINNING.starts_with(&text) || text.starts_with(BEGINNING);
        ensure!(is_ours, "{} is no journal of a batch: give another folder with `-o`", path.display());
        file.set_len(whole as u64).with_context(failed)?;
        let mut journal = Self {
            file,
            length: whole as u64,
            folder: File::open(folder).with_context(failed)?,
            id: Uuid::nil(),
            chunks: 0,
            pending: None,
            accepted: Vec::new(),
            ended: BTreeMap::new(),
            counts: BTreeMap::new(),
        };
        journal.take_up(&text[..whole], &path, input)?;
        Ok(journal)
    }

    fn take_up(&mut self, text: &[u8], path: &Path, input: &Input) -> anyhow::Result<()> {
        for (number, line) in (1..).zip(text.split_inclusive(|byte| *byte == b'\n')) {
            let record: Record = serde_json::from_slice(line)
                .with_context(|| format!("{} is damaged in line {number}", path.display()))?;
            if let Record::Begun { input_sha256, .. } = &record {
                ensure!(
                    *input_sha256 == input.sha256,
                    "the input is not the one that {} was begun with: put that back, or give another folder with \
                     `-o` for what has changed",
                    path.display()
                );
            }
            self.apply(record);
        }
        if text.is_empty() {
            sync_ancestors(path);
            self.append(vec![Record::Begun { id: Uuid::now_v7(), input_sha256: input.sha256.clone() }])?;
        }
        Ok(())
    }

    /// The key under which a chunk is submitted, however often.
    pub(super) fn key(&self, chunk: &Chunk) -> String {
        format!("{}-{}", self.id, chunk.number)
    }

    /// Lines that have a job or never will.
    pub(super) fn placed(&self) -> BTreeSet<usize> {
        let open = self.accepted.iter().flat_map(|accepted| accepted.open.values());
        open.chain(self.ended.keys()).copied().collect()
    }

    /// Notes what is about to be submitted.
    pub(super) fn begin(&mut self, lines: Vec<usize>, files: BTreeMap<usize, Uuid>) -> anyhow::Result<Chunk> {
        let chunk = Chunk { number: self.chunks, lines, files };
        self.append(vec![Record::Submitting(chunk.clone())])?;
        Ok(chunk)
    }

    /// Notes that the chunk is a batch.
    pub(super) fn accept(
        &mut self,
        chunk: u32,
        batch: Uuid,
        jobs: BTreeMap<Uuid, usize>,
        refused: BTreeMap<usize, Failure>,
    ) -> anyhow::Result<()> {
        self.append(vec![Record::Accepted { chunk, batch, jobs, refused }])
    }

    /// Notes that the chunk was refused as a whole, for lines that are not submitted again.
    pub(super) fn refuse(&mut self, chunk: u32, refused: BTreeMap<usize, Failure>) -> anyhow::Result<()> {
        self.append(vec![Record::Refused { chunk, refused }])
    }

    /// Notes what became of lines. Their files have to be there.
    pub(super) fn end(&mut self, ended: Vec<Ended>) -> anyhow::Result<()> {
        self.append(ended.into_iter().map(Record::Ended).collect())
    }

    /// Writes records onto the disk, and everything before them that happened in the folder.
    fn append(&mut self, records: Vec<Record>) -> anyhow::Result<()> {
        let mut lines = Vec::new();
        for record in &records {
            serde_json::to_writer(&mut lines, record).context("failed to write JSON")?;
            lines.push(b'\n');
        }
        let written = tokio::task::block_in_place(|| {
            self.folder.sync_all()?;
            self.file.write_all(&lines)?;
            self.file.sync_data()
        });
        if let Err(error) = written {
            // Half a record would spoil the next one.
            let _ = self.file.set_len(self.length);
            return Err(error).context("failed to write to the journal");
        }
        self.length += lines.len() as u64;
        records.into_iter().for_each(|record| self.apply(record));
        Ok(())
    }

    fn apply(&mut self, record: Record) {
        match record {
            Record::Begun { id, .. } => self.id = id,
            Record::Submitting(chunk) => {
                self.chunks = chunk.number + 1;
                self.pending = Some(chunk);
            }
            Record::Accepted { batch, jobs, refused, .. } => {
                self.pending = None;
                self.accepted.push(Accepted { batch, open: jobs });
                self.end_refused(refused);
            }
            Record::Refused { refused, .. } => {
                self.pending = None;
                self.end_refused(refused);
            }
            Record::Ended(ended) => {
                let batches = self.accepted.iter_mut();
                ended.job.and_then(|job| batches.filter_map(|batch| batch.open.remove(&job)).next());
                self.note(ended);
            }
        }
    }

    fn end_refused(&mut self, refused: BTreeMap<usize, Failure>) {
        refused.into_iter().for_each(|(line, error)| self.note(Ended::refused(line, error)));
    }

    fn note(&mut self, ended: Ended) {
        *self.counts.entry(ended.state).or_default() += 1;
        self.ended.insert(ended.line, ended);
    }
}

/// Puts onto the disk that the folders are there. Those that cannot be read were there before.
fn sync_ancestors(path: &Path) {
    for folder in path.ancestors().skip(1) {
        let folder = if folder == Path::new("") { Path::new(".") } else { folder };
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(text: &str) -> Input {
        Input::parse(text.as_bytes(), Path::new("")).unwrap()
    }

    fn refused(line: usize) -> Ended {
        Ended::refused(line, Failure { code: "x".to_owned(), message: "y".to_owned() })
    }

    #[test]
    fn what_was_noted_is_known_to_who_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let input = input("{}\n{}\n{}\n{}");
        let (key, job) = (Journal::open(folder.path(), &input).unwrap().id, Uuid::now_v7());
        let mut journal = Journal::open(folder.path(), &input).unwrap();
        let chunk = journal.begin(vec![1, 3], [(1, job)].into()).unwrap();
        drop(journal);

        let mut journal = Journal::open(folder.path(), &input).unwrap();
        assert_eq!(journal.pending.as_ref(), Some(&chunk), "whether it was accepted is not known");
        assert_eq!(journal.key(&chunk), format!("{key}-0"));
        journal.accept(0, Uuid::nil(), [(job, 1)].into(), [(3, refused(3).error.unwrap())].into()).unwrap();
        let next = journal.begin(vec![2, 4], BTreeMap::new()).unwrap();
        journal.refuse(next.number, [(4, refused(4).error.unwrap())].into()).unwrap();
        drop(journal);

        let mut journal = Journal::open(folder.path(), &input).unwrap();
        assert_eq!((journal.pending.as_ref(), journal.chunks), (None, 2));
        assert_eq!(journal.placed(), [1, 3, 4].into());
        assert_eq!(journal.accepted[0].open, [(job, 1)].into());
        let ended = Ended::lost(1, job, String::new());
        journal.end(vec![ended.clone()]).unwrap();
        assert!(journal.accepted[0].open.is_empty());
        drop(journal);
        let journal = Journal::open(folder.path(), &input).unwrap();
        assert_eq!(journal.ended, [(1, ended), (3, refused(3)), (4, refused(4))].into());
        assert!(journal.accepted[0].open.is_empty());
    }

    #[test]
    fn half_a_record_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let input = input("{}");
        let path = folder.path().join(NAME);
        let mut journal = Journal::open(folder.path(), &input).unwrap();
        journal.end(vec![refused(1)]).unwrap();
        drop(journal);
        let whole = std::fs::read(&path).unwrap();
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert!(Journal::open(folder.path(), &input).unwrap().ended.is_empty(), "after {length} bytes");
            let mut journal = Journal::open(folder.path(), &input).unwrap();
            journal.end(vec![refused(1)]).unwrap();
            drop(journal);
            assert_eq!(Journal::open(folder.path(), &input).unwrap().ended.len(), 1, "after {length} bytes");
        }
    }

    #[test]
    fn a_folder_has_one_input_and_one_run() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path(), &input("{}")).unwrap();
        let refused = |text: &str| Journal::open(folder.path(), &input(text)).unwrap_err().to_string();
        assert!(refused("{}").contains("another `darkroom batch` is at work"));
        drop(journal);
        assert!(refused("{}\n").contains("the input is not the one"));
        std::fs::write(folder.path().join(NAME), "x\n").unwrap();
        assert!(refused("{}").contains("damaged in line 1"));
    }
}
