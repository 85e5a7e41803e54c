//! Exif that holds one text: a TIFF structure of two directories (Exif 3.0, 4.6).

/// Data of a JPEG segment, less the word `Exif\0\0` before it: all that may be in the structure.
const MAX_BYTES: usize = 65_533 - 6;
/// Where the text begins: behind header (8), the first directory (18) and the second (30).
const TEXT_AT: u32 = 8 + 18 + 30;
/// Says that the text is UTF-16, here in the byte order of the structure.
const UNICODE: &[u8] = b"UNICODE\0";

/// `text` as the `UserComment`, where the web UI that the parameters' form comes from writes them into files
/// other than PNG. A text over 32,731 UTF-16 code units, more than a JPEG can hold, is cut.
pub(super) fn user_comment(text: &str) -> Vec<u8> {
    let mut comment = UNICODE.to_vec();
    for char in text.chars() {
        let mut units = [0; 2];
        let units = char.encode_utf16(&mut units);
        if TEXT_AT as usize + comment.len() + 2 * units.len() > MAX_BYTES {
            break;
        }
        comment.extend(units.iter().flat_map(|unit| unit.to_be_bytes()));
    }
    let count = comment.len() as u32;
    let mut bytes = b"MM\0*\0\0\0\x08".to_vec();
    // The first directory only points to the second.
    directory(&mut bytes, &[entry(0x8769, 4, 1, 26_u32.to_be_bytes())]);
    directory(&mut bytes, &[entry(0x9000, 7, 4, *b"0300"), entry(0x9286, 7, count, TEXT_AT.to_be_bytes())]);
    bytes.extend(comment);
    bytes
}

/// A field: tag, type (4: a 32-bit number, 7: bytes), count, and the value or where it is.
fn entry(tag: u16, kind: u16, count: u32, value: [u8; 4]) -> [u8; 12] {
    let mut entry = [0; 12];
    entry[..2].copy_from_slice(&tag.to_be_bytes());
    entry[2..4].copy_from_slice(&kind.to_be_bytes());
    entry[4..8].copy_from_slice(&count.to_be_bytes());
    entry[8..].copy_from_slice(&value);
    entry
}

/// A directory that no other follows.
fn directory(bytes: &mut Vec<u8>, entries: &[[u8; 12]]) {
    bytes.extend((entries.len() as u16).to_be_bytes());
    bytes.extend(entries.iter().flatten());
    bytes.extend([0; 4]);
}
