//! CLIP's tokenizer: text to a fixed number of ids.

use tokenizers::models::bpe::BPE;
use tokenizers::normalizers::{Lowercase, NFC, Replace, Sequence as Normalizers, replace::ReplacePattern};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence as PreTokenizers;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, SplitDelimiterBehavior, Tokenizer};

use super::special::{CONFIG, SpecialTokens};
use crate::error::{BoxError, Error};
use crate::folder::Folder;
use crate::tokens::{self, Dropped};

/// How CLIP cuts text into words: its two special tokens, English suffixes, letters, single digits, the rest.
const WORDS: &str =
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

/// Turns a prompt into as many ids as the text encoder has positions.
pub(crate) struct ClipTokenizer {
    tokenizer: Tokenizer,
    bos: u32,
    eos: u32,
    pad: u32,
    length: usize,
}

/// A text as a text encoder sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClipIds {
    /// As many as the text encoder has positions.
    pub(crate) ids: Vec<u32>,
    /// Where the first end token is.
    pub(crate) end: usize,
    /// What there was no room for.
    pub(crate) dropped: Option<Dropped>,
}

impl ClipTokenizer {
    /// Reads `tokenizer.json`, or `vocab.json` and `merges.txt`, of the component's folder.
    pub(crate) fn load(folder: &Folder, positions: usize) -> Result<Self, Error> {
        let special = SpecialTokens::load(folder)?;
        let mut tokenizer = if folder.has("tokenizer.json") {
            tokens::from_json(&folder.file("tokenizer.json"))?
        } else {
            from_vocabulary(folder, &special.unk)?
        };
        let id = |token: &str| {
            let reason = format!("special token {token:?} is not in the vocabulary");
            tokenizer.token_to_id(token).ok_or_else(|| folder.invalid(CONFIG, reason))
        };
        let (bos, eos, pad) = (id(&special.bos)?, id(&special.eos)?, id(&special.pad)?);
        let known = tokenizer.get_added_tokens_decoder();
        let is_known = |token: &AddedToken| known.values().any(|other| other.content == token.content);
        let missing = special.added.into_iter().filter(|token| !is_known(token));
        tokenizer.add_special_tokens(missing).map_err(Error::Device)?;
        // `model_max_length` is 1e30 where nobody set one.
        let length = special.model_max_length.map_or(positions, |length| positions.min(length as usize));
        if length < 2 {
            return Err(
                folder.invalid(CONFIG, format!("model_max_length is {length}, and must be at least 2"))
            );
        }
        Ok(Self { tokenizer, bos, eos, pad, length })
    }

    /// The largest id it can make.
    pub(crate) fn largest_id(&self) -> u32 {
        self.tokenizer.get_vocab(true).into_values().max().unwrap_or(0)
    }

    /// Start, the prompt cut to what fits, end, padding: always the same number of ids.
    pub(crate) fn encode(&self, prompt: &str) -> Result<ClipIds, Error> {
        let encoding = self.tokenizer.encode(prompt, false).map_err(Error::Device)?;
        let words = encoding.get_ids();
        let kept = words.len().min(self.length - 2);
        let mut ids = Vec::with_capacity(self.length);
        ids.push(self.bos);
        ids.extend_from_slice(&words[..kept]);
        ids.push(self.eos);
        let end = ids.iter().position(|id| *id == self.eos).unwrap_or(kept + 1);
        ids.resize(self.length, self.pad);
        Ok(ClipIds { ids, end, dropped: Dropped::after(kept, prompt, &encoding) })
    }
}

/// The tokenizer that transformers makes of a slow CLIP tokenizer's files, without its special tokens.
fn from_vocabulary(folder: &Folder, unk: &str) -> Result<Tokenizer, Error> {
    for name in ["vocab.json", "merges.txt"] {
        if !folder.has(name) {
            return Err(folder.missing(name));
        }
    }
    let (vocab, merges) = (folder.file("vocab.json"), folder.file("merges.txt"));
    let build = || -> Result<Tokenizer, BoxError> {
        let bpe = BPE::from_file(&vocab.to_string_lossy(), &merges.to_string_lossy())
            .unk_token(unk.to_owned())
            .end_of_word_suffix("</w>".to_owned())
            .build()?;
        let mut tokenizer = Tokenizer::new(bpe);
        let spaces = Replace::new(ReplacePattern::Regex(r"\s+".to_owned()), " ")?;
        tokenizer.with_normalizer(Some(Normalizers::new(vec![
            NFC.into(),
            spaces.into(),
            Lowercase.into(),
        ])))?;
        let words = Split::new(SplitPattern::Regex(WORDS.to_owned()), SplitDelimiterBehavior::Removed, true)?;
        let bytes = ByteLevel::new(false, true, true);
        tokenizer.with_pre_tokenizer(Some(PreTokenizers::new(vec![words.into(), bytes.into()])));
        Ok(tokenizer)
    };
    build().map_err(|error| tokens::unreadable(&vocab, "a byte-pair vocabulary with its merges", error))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use serde_json::{Map, Value, json};
    use tempfile::TempDir;

    use super::*;
    use crate::folder::ModelFolder;
    use crate::tokens::testing::{Recorded, assert_all_equal, copied, fill};

    /// As many positions as CLIP has.
    const LENGTH: usize = 77;

    /// CLIP's merges, without the line before them.
    fn merges() -> Vec<String> {
        let file = fs::read_to_string(Recorded::folder("clip").join("merges.txt")).unwrap();
        file.lines().skip(1).map(str::to_owned).collect()
    }

    /// CLIP's words with their ids, which follow from its merges: the bytes, the bytes at the end of a word,
    /// what the merges make, and two special tokens.
    fn words() -> Map<String, Value> {
        let is_shown = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
        let mut letters = (0..=u8::MAX).filter(is_shown).map(char::from).collect::<Vec<_>>();
        // The characters from 256 on stand for the other bytes.
        letters.extend((256..512 - letters.len() as u32).filter_map(char::from_u32));
        let words = letters.iter().map(char::to_string);
        let ends = letters.iter().map(|letter| format!("{letter}</w>"));
        let merged = merges().into_iter().map(|merge| merge.replace(' ', ""));
        let special = ["<|startoftext|>", "<|endoftext|>"].map(str::to_owned);
        let words = words.chain(ends).chain(merged).chain(special);
        let words = words.enumerate().map(|(id, word)| (word, json!(id))).collect::<Map<_, _>>();
        assert_eq!(words.len(), 49_408);
        words
    }

    fn from_files(layout: &str) -> TempDir {
        let folder = copied(&format!("clip/{layout}"), &[CONFIG, "special_tokens_map.json"]);
        fs::copy(Recorded::folder("clip").join("merges.txt"), folder.path().join("merges.txt")).unwrap();
        fs::write(folder.path().join("vocab.json"), Value::from(words()).to_string()).unwrap();
        folder
    }

    fn from_json(layout: &str) -> TempDir {
        let files = [CONFIG, "special_tokens_map.json", "tokenizer.json"];
        let folder = copied(&format!("clip/{layout}"), &files);
        fill(&folder.path().join("tokenizer.json"), words(), Some(merges()));
        folder
    }

    fn load(folder: &Path) -> ClipTokenizer {
        ClipTokenizer::load(&Folder::new(&ModelFolder::from(folder)), LENGTH).unwrap()
    }

    /// Two hundred prompts with the real vocabulary, in the layouts of the repositories of SD 1.5, SD 2.1 and of
    /// SDXL's second tokenizer.
    #[test]
    fn prompts_have_the_ids_of_the_reference() {
        let recorded = Recorded::read("clip");
        let prompts = recorded.get::<Vec<String>>("prompts");
        assert!(prompts.len() > 190);
        for (layout, pad) in [("sd15", 49_407), ("sd21", 0), ("sdxl_2", 0)] {
            let ids = recorded.get::<Vec<Vec<u32>>>(layout);
            for (form, folder) in [("files", from_files(layout)), ("json", from_json(layout))] {
                let tokenizer = load(folder.path());
                let cases = prompts.iter().zip(&ids).map(|(prompt, ids)| {
                    let mut expected = ids.clone();
                    expected.resize(LENGTH, pad);
                    (prompt.clone(), tokenizer.encode(prompt).unwrap().ids, expected)
                });
                assert_all_equal(&format!("{layout}, {form}"), cases.collect());
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_told() {
        let tokenizer = load(from_files("sd15").path());
        let ids = tokenizer.encode(&format!("{}猫 dog", "cat ".repeat(74))).unwrap();
        assert_eq!(ids.end, 76);
        // The second half of the character before it is cut off, too.
        assert_eq!(ids.dropped.unwrap().text, "猫 dog");
        assert_eq!(tokenizer.encode(&"x".repeat(10_000)).unwrap().ids.len(), LENGTH);
        assert_eq!(tokenizer.encode("a cat").unwrap().dropped, None);
    }
}
