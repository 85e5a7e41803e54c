//! BERT's tokenizer.

use tokenizers::decoders::wordpiece::WordPiece as WordPieceDecoder;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::{AddedToken, Tokenizer};

use crate::error::{BoxError, Error};
use crate::folder::Folder;
use crate::tokens;

/// Of every BERT vocabulary.
const SPECIAL: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];

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
    let build = || -> Result<Tokenizer, BoxError> {
        let model = WordPiece::from_file(&vocab.to_string_lossy()).unk_token("[UNK]".to_owned()).build()?;
        let mut tokenizer = Tokenizer::new(model);
        tokenizer.with_normalizer(Some(BertNormalizer::new(true, true, None, true)))?;
        tokenizer.with_pre_tokenizer(Some(BertPreTokenizer));
        tokenizer.with_decoder(Some(WordPieceDecoder::new("##".to_owned(), true)));
        tokenizer.add_special_tokens(SPECIAL.map(|token| AddedToken::from(token, true).normalized(false)))?;
        Ok(tokenizer)
    };
    build().map_err(|error| tokens::unreadable(&vocab, "a word-piece vocabulary", error))
}
