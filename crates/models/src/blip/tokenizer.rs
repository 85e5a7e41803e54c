//! BERT's tokenizer.

use serde::Deserialize;
use tokenizers::decoders::wordpiece::WordPiece as WordPieceDecoder;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::{AddedToken, Tokenizer};

use crate::error::{BoxError, Error};
use crate::folder::Folder;
use crate::tokens::{self, SpecialToken};

const CONFIG: &str = "tokenizer_config.json";

/// Of every BERT vocabulary.
const SPECIAL: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];

/// `tokenizer_config.json`: BLIP's own special tokens, and how text is prepared.
#[derive(Debug, Default, Deserialize)]
struct TokenizerConfig {
    bos_token: Option<SpecialToken>,
    #[serde(default)]
    additional_special_tokens: Vec<SpecialToken>,
    do_lower_case: Option<bool>,
    strip_accents: Option<bool>,
    tokenize_chinese_chars: Option<bool>,
}

impl TokenizerConfig {
    /// All special tokens by their texts.
    fn special_tokens(&self) -> Vec<AddedToken> {
        let own = self.bos_token.iter().chain(&self.additional_special_tokens).map(SpecialToken::text);
        SPECIAL
            .into_iter()
            .chain(own)
            .map(|content| AddedToken::from(content.to_owned(), true).normalized(false))
            .collect()
    }
}

/// Words to ids and back.
pub(super) struct BertTokenizer(Tokenizer);

impl BertTokenizer {
    /// Reads `tokenizer.json` or `vocab.txt`.
    pub(super) fn load(folder: &Folder) -> Result<Self, Error> {
        let json = folder.file("tokenizer.json");
        let tokenizer = if folder.has("tokenizer.json") {
            tokens::from_json(&json)?
        } else if folder.has("vocab.txt") {
            from_vocabulary(folder)?
        } else {
            return Err(folder.missing("tokenizer.json"));
        };
        Ok(Self(tokenizer))
    }

    /// The ids of a text, without special tokens around it.
    pub(super) fn encode(&self, text: &str) -> Result<Vec<u32>, Error> {
        Ok(self.0.encode_fast(text, false).map_err(Error::Device)?.get_ids().to_vec())
    }

    /// The text of ids, its special tokens left out.
    pub(super) fn decode(&self, ids: &[u32]) -> Result<String, Error> {
        Ok(self.0.decode(ids, true).map_err(Error::Device)?.trim().to_owned())
    }
}

fn from_vocabulary(folder: &Folder) -> Result<Tokenizer, Error> {
    let vocab = folder.file("vocab.txt");
    let config: TokenizerConfig = folder.json_if_present(CONFIG)?.unwrap_or_default();
    let normalizer = BertNormalizer::new(
        true,
        config.tokenize_chinese_chars.unwrap_or(true),
        config.strip_accents,
        config.do_lower_case.unwrap_or(true),
    );
    let build = || -> Result<Tokenizer, BoxError> {
        let model = WordPiece::from_file(&vocab.to_string_lossy()).unk_token("[UNK]".to_owned()).build()?;
        let mut tokenizer = Tokenizer::new(model);
        tokenizer.with_normalizer(Some(normalizer))?;
        tokenizer.with_pre_tokenizer(Some(BertPreTokenizer));
        tokenizer.with_decoder(Some(WordPieceDecoder::new("##".to_owned(), true)));
        tokenizer.add_special_tokens(config.special_tokens())?;
        Ok(tokenizer)
    };
    build().map_err(|error| tokens::unreadable(&vocab, "a word-piece vocabulary", error))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;
    use crate::tokens::testing::{Recorded, assert_all_equal, copied, fill};

    /// The vocabulary of `bert-base-uncased` with BLIP's two tokens, written either way.
    fn tokenizers() -> [(&'static str, BertTokenizer); 2] {
        let words =
            fs::read_to_string(Recorded::folder("bert").join("vocab.txt")).unwrap() + "[DEC]\n[ENC]\n";
        let vocabulary = copied("bert", &["tokenizer_config.json"]);
        fs::write(vocabulary.path().join("vocab.txt"), &words).unwrap();
        let file = copied("bert", &["tokenizer_config.json", "tokenizer.json"]);
        let ids = words.lines().enumerate().map(|(id, word)| (word.to_owned(), json!(id)));
        fill(&file.path().join("tokenizer.json"), ids.collect(), None);
        let load = |folder: &std::path::Path| {
            BertTokenizer::load(&Folder::new(&crate::folder::ModelFolder::from(folder))).unwrap()
        };
        [("vocab.txt", load(vocabulary.path())), ("tokenizer.json", load(file.path()))]
    }

    #[test]
    fn prompts_have_the_ids_of_the_reference() {
        let recorded = Recorded::read("bert");
        let (prompts, ids) = (recorded.get::<Vec<String>>("prompts"), recorded.get::<Vec<Vec<u32>>>("ids"));
        assert!(prompts.len() > 190);
        for (form, tokenizer) in tokenizers() {
            let cases = prompts.iter().zip(&ids);
            let cases =
                cases.map(|(prompt, ids)| (prompt.clone(), tokenizer.encode(prompt).unwrap(), ids.clone()));
            assert_all_equal(form, cases.collect());
        }
    }

    #[test]
    fn ids_have_the_texts_of_the_reference() {
        let recorded = Recorded::read("bert");
        let sequences = recorded.get::<Vec<Vec<u32>>>("sequences");
        let texts = recorded.get::<Vec<String>>("texts");
        for (form, tokenizer) in tokenizers() {
            let cases = sequences.iter().zip(&texts).map(|(ids, text)| {
                (format!("{ids:?}"), tokenizer.decode(ids).unwrap(), text.trim().to_owned())
            });
            assert_all_equal(form, cases.collect());
        }
    }
}
