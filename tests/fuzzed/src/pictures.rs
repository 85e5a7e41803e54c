use darkroom_pictures::{HeaderScan, ImageHeader, MAX_PIXELS, MAX_SIDE, Unusable, decode};

/// A file somebody uploads: the API reads its header as it passes, a worker decodes it.
///
/// # Panics
/// When the header depends on how the file was cut, or when there are other pixels than it says.
pub fn picture(bytes: &[u8]) {
    let header = scan(bytes, bytes.len().max(1));
    // In pieces of another size for each file.
    let piece = bytes.first().map_or(1, |byte| usize::from(*byte) + 1);
    assert_eq!(header, scan(bytes, piece), "in pieces of {piece}");
    let Ok(picture) = decode(bytes) else { return };
    let (width, height) = picture.dimensions();
    let header = header.expect("what can be decoded has a header");
    let lying = (header.width, header.height);
    assert!(lying == (width, height) || lying == (height, width), "{width} x {height} of {lying:?}");
    assert!(width.max(height) <= MAX_SIDE && u64::from(width) * u64::from(height) <= MAX_PIXELS);
}

fn scan(bytes: &[u8], piece: usize) -> Result<ImageHeader, Unusable> {
    let mut scan = HeaderScan::default();
    bytes.chunks(piece).for_each(|piece| scan.push(piece));
    scan.finish()
}
