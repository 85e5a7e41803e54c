//! Finding the frame header of a JPEG (ITU T.81, B.1 and B.2) in a passing stream.

/// Start of image, and the first byte of the marker that follows.
pub(super) const START: [u8; 3] = [0xff, 0xd8, 0xff];

/// Bytes of a frame header up to its width: length (2), precision (1), height (2), width (2).
const FRAME_BYTES: usize = 7;

/// Walks from marker to marker. Begins behind the 0xff of the first one.
#[derive(Debug, Default)]
pub(super) struct Scan {
    state: State,
}

#[derive(Debug, Default)]
enum State {
    /// Behind a 0xff: the next byte other than 0xff says which marker it is.
    #[default]
    Marker,
    /// The first or second byte of a segment's length.
    Length {
        high: Option<u8>,
    },
    /// Inside a segment that does not matter.
    Skip {
        bytes: usize,
    },
    /// Behind a segment: a 0xff has to follow.
    Gap,
    /// Inside the frame header.
    Frame {
        bytes: [u8; FRAME_BYTES],
        filled: usize,
    },
    /// The end of the search, either way.
    Found {
        width: u32,
        height: u32,
    },
    Broken,
}

impl Scan {
    pub(super) fn push(&mut self, mut bytes: &[u8]) {
        while let Some((&byte, rest)) = bytes.split_first() {
            if let State::Skip { bytes: left } = &mut self.state {
                let skipped = bytes.len().min(*left);
                *left -= skipped;
                bytes = &bytes[skipped..];
                if *left == 0 {
                    self.state = State::Gap;
                }
                continue;
            }
            self.state = self.state.after(byte);
            if matches!(self.state, State::Found { .. } | State::Broken) {
                return;
            }
            bytes = rest;
        }
    }

    pub(super) fn dimensions(&self) -> Option<(u32, u32)> {
        match self.state {
            State::Found { width, height } => Some((width, height)),
            _ => None,
        }
    }
}

impl State {
    fn after(&self, byte: u8) -> Self {
        match *self {
            Self::Marker => marker(byte),
            Self::Length { high: None } => Self::Length { high: Some(byte) },
            Self::Length { high: Some(high) } => {
                match usize::from(u16::from_be_bytes([high, byte])).checked_sub(2) {
                    None => Self::Broken,
                    Some(0) => Self::Gap,
                    Some(bytes) => Self::Skip { bytes },
                }
            }
            Self::Gap if byte == 0xff => Self::Marker,
            Self::Frame { bytes, filled } => frame(bytes, filled, byte),
            Self::Found { width, height } => Self::Found { width, height },
            Self::Gap | Self::Skip { .. } | Self::Broken => Self::Broken,
        }
    }
}

fn marker(byte: u8) -> State {
    match byte {
        // Fill bytes.
        0xff => State::Marker,
        // TEM and restart markers stand alone.
        0x01 | 0xd0..=0xd7 => State::Gap,
        // Tables that share the range of frame headers: DHT, JPG, DAC.
        0xc4 | 0xc8 | 0xcc => State::Length { high: None },
        0xc0..=0xcf => State::Frame { bytes: [0; FRAME_BYTES], filled: 0 },
        // A second start, the end, or pixels before any frame header.
        0x00 | 0xd8 | 0xd9 | 0xda => State::Broken,
        _ => State::Length { high: None },
    }
}

fn frame(mut bytes: [u8; FRAME_BYTES], filled: usize, byte: u8) -> State {
    bytes[filled] = byte;
    if filled + 1 < FRAME_BYTES {
        return State::Frame { bytes, filled: filled + 1 };
    }
    let [_, _, _, height @ .., w0, w1] = bytes;
    State::Found { width: u16::from_be_bytes([w0, w1]).into(), height: u16::from_be_bytes(height).into() }
}
