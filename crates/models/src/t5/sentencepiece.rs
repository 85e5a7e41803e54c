//! `spiece.model`: what a tokenizer needs of SentencePiece's `ModelProto` (Kudo and Richardson 2018), a protocol
//! buffer.

/// A vocabulary of kind unigram.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SentencePiece {
    /// Texts with their logarithmic probabilities, by id.
    pub(super) pieces: Vec<(String, f64)>,
    /// Which piece stands for what is not in the vocabulary.
    pub(super) unk_id: usize,
    /// How characters are replaced first; empty for not at all.
    pub(super) precompiled_charsmap: Vec<u8>,
}

/// Why bytes are not a model that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum SentencePieceError {
    #[error("a protocol buffer that ends early or has an unknown wire type")]
    Malformed,
    #[error("a piece that is not UTF-8")]
    NotUtf8,
    #[error("a model of type {0}, not 1 (unigram)")]
    NotUnigram(u64),
    #[error("no piece of type 2 (unknown)")]
    NoUnknown,
}

/// The numbers of fields and values in `sentencepiece_model.proto`.
mod numbers {
    pub(super) const PIECES: u64 = 1;
    pub(super) const TRAINER_SPEC: u64 = 2;
    pub(super) const NORMALIZER_SPEC: u64 = 3;
    pub(super) const PIECE_TEXT: u64 = 1;
    pub(super) const PIECE_SCORE: u64 = 2;
    pub(super) const PIECE_TYPE: u64 = 3;
    pub(super) const TYPE_UNKNOWN: u64 = 2;
    pub(super) const MODEL_TYPE: u64 = 3;
    pub(super) const MODEL_UNIGRAM: u64 = 1;
    pub(super) const PRECOMPILED_CHARSMAP: u64 = 2;
}

impl SentencePiece {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, SentencePieceError> {
        let mut model = Self { pieces: Vec::new(), unk_id: 0, precompiled_charsmap: Vec::new() };
        let mut unk_id = None;
        for field in Fields(bytes) {
            match field? {
                (numbers::PIECES, Value::Bytes(bytes)) => {
                    let (text, score, kind) = piece(bytes)?;
                    if kind == numbers::TYPE_UNKNOWN {
                        unk_id.get_or_insert(model.pieces.len());
                    }
                    model.pieces.push((text, score));
                }
                (numbers::TRAINER_SPEC, Value::Bytes(bytes)) => check_trainer(bytes)?,
                (numbers::NORMALIZER_SPEC, Value::Bytes(bytes)) => {
                    for field in Fields(bytes) {
                        if let (numbers::PRECOMPILED_CHARSMAP, Value::Bytes(charsmap)) = field? {
                            model.precompiled_charsmap = charsmap.to_vec();
                        }
                    }
                }
                _ => {}
            }
        }
        model.unk_id = unk_id.ok_or(SentencePieceError::NoUnknown)?;
        Ok(model)
    }
}

/// Text, score and type of a piece.
fn piece(bytes: &[u8]) -> Result<(String, f64, u64), SentencePieceError> {
    let (mut text, mut score, mut kind) = (String::new(), 0.0, 1);
    for field in Fields(bytes) {
        match field? {
            (numbers::PIECE_TEXT, Value::Bytes(bytes)) => {
                let utf8 = std::str::from_utf8(bytes).map_err(|_| SentencePieceError::NotUtf8)?;
                text = utf8.to_owned();
            }
            (numbers::PIECE_SCORE, Value::Fixed32(bits)) => score = f64::from(f32::from_bits(bits)),
            (numbers::PIECE_TYPE, Value::Varint(value)) => kind = value,
            _ => {}
        }
    }
    Ok((text, score, kind))
}

fn check_trainer(bytes: &[u8]) -> Result<(), SentencePieceError> {
    for field in Fields(bytes) {
        match field? {
            (numbers::MODEL_TYPE, Value::Varint(numbers::MODEL_UNIGRAM)) => {}
            (numbers::MODEL_TYPE, Value::Varint(other)) => return Err(SentencePieceError::NotUnigram(other)),
            _ => {}
        }
    }
    Ok(())
}

/// The value of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value<'a> {
    Varint(u64),
    Fixed64,
    Bytes(&'a [u8]),
    Fixed32(u32),
}

/// The fields of a message, with their numbers, in their order. Ends after an error.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), SentencePieceError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field().ok_or(SentencePieceError::Malformed);
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Option<(u64, Value<'a>)> {
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => self.take(8).map(|_| Value::Fixed64)?,
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                Value::Bytes(self.take(length)?)
            }
            5 => Value::Fixed32(u32::from_le_bytes(self.take(4)?.try_into().ok()?)),
            _ => return None,
        };
        Some((key >> 3, value))
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// Seven bits a byte, the lowest first, at most ten bytes.
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A field whose value is bytes.
    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, bytes.len() as u8], bytes].concat()
    }

    fn model(trainer: &[u8]) -> Vec<u8> {
        let unknown = [&field(1, b"<unk>")[..], &[2 << 3 | 5, 0, 0, 0, 0, 3 << 3, 2]].concat();
        let word = [&field(1, "▁a".as_bytes())[..], &[2 << 3 | 5], &(-1.5f32).to_le_bytes()].concat();
        let parts = [field(1, &unknown), field(1, &word), field(2, trainer), field(3, &field(2, b"map"))];
        parts.concat()
    }

    #[test]
    fn pieces_scores_and_the_character_map_are_read() {
        let parsed = SentencePiece::parse(&model(&[3 << 3, 1, 4 << 3, 0x80, 0x7d])).unwrap();
        let pieces = vec![("<unk>".to_owned(), 0.0), ("▁a".to_owned(), -1.5)];
        let expected = SentencePiece { pieces, unk_id: 0, precompiled_charsmap: b"map".to_vec() };
        assert_eq!(parsed, expected);
    }

    #[test]
    fn other_models_and_damaged_files_are_told_apart() {
        assert_eq!(SentencePiece::parse(&model(&[3 << 3, 2])), Err(SentencePieceError::NotUnigram(2)));
        assert_eq!(SentencePiece::parse(b""), Err(SentencePieceError::NoUnknown));
        let whole = model(&[3 << 3, 1]);
        for length in 1..whole.len() {
            let result = SentencePiece::parse(&whole[..length]);
            let ends_between_fields = matches!(result, Ok(_) | Err(SentencePieceError::NoUnknown));
            assert!(ends_between_fields || result == Err(SentencePieceError::Malformed), "{length} bytes");
        }
        assert_eq!(SentencePiece::parse(&[0xff; 20]), Err(SentencePieceError::Malformed));
    }
}
