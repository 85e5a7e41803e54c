//! The order of frames and scans in a JPEG (ITU T.81, B.1 to B.2).

/// What a whole JPEG is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outline {
    /// Whether its pixels come in ever finer passes.
    pub(super) is_progressive: bool,
    /// Components of the picture: 1 for grey, 3 for colours, 4 for inks.
    pub(super) components: u8,
    /// Components of the first scan.
    pub(super) first_scan: u8,
    /// Components of all scans together.
    pub(super) all_scans: u64,
}

/// Start of image.
const START_BYTES: usize = 2;
/// A segment's length, and within a frame header what lies before the number of components.
const LENGTH_BYTES: usize = 2;
const FRAME_BYTES: usize = 5;

impl Outline {
    /// Walks from marker to marker, up to the one that ends the picture. `None` when it is not there: decoders
    /// fill what is missing with grey.
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        let mut frame = None;
        let mut scans: Option<(u8, u64)> = None;
        let mut rest = bytes.get(START_BYTES..)?;
        loop {
            let (marker, after) = next_marker(rest, scans.is_some())?;
            rest = after;
            match marker {
                0xd9 => break,
                // TEM, restarts and another start stand alone.
                0x01 | 0xd0..=0xd8 => continue,
                _ => {}
            }
            let length = usize::from(u16::from_be_bytes(rest.get(..LENGTH_BYTES)?.try_into().ok()?));
            let segment = rest.get(LENGTH_BYTES..length)?;
            rest = rest.get(length..)?;
            match marker {
                0xc4 | 0xc8 | 0xcc => {}
                0xc0..=0xcf if frame.is_none() => frame = Some((marker, *segment.get(FRAME_BYTES)?)),
                0xda => {
                    let components = *segment.first()?;
                    let (_, all) = scans.get_or_insert((components, 0));
                    *all += u64::from(components);
                }
                _ => {}
            }
        }
        let ((marker, components), (first_scan, all_scans)) = frame.zip(scans)?;
        // Of each kind of entropy coding the third.
        let is_progressive = marker & 0x03 == 0x02;
        Some(Self { is_progressive, components, first_scan, all_scans })
    }
}

/// The next marker and what lies behind it. Among pixels, what is no marker of a segment is skipped.
fn next_marker(bytes: &[u8], among_pixels: bool) -> Option<(u8, &[u8])> {
    let mut rest = bytes;
    loop {
        let at = rest.iter().position(|byte| *byte == 0xff)?;
        rest = &rest[at + 1..];
        let marker = *rest.first()?;
        let stuffed = marker == 0 || (among_pixels && matches!(marker, 0x01..=0xbf));
        if marker != 0xff && !stuffed {
            return Some((marker, &rest[1..]));
        }
    }
}
