//! Pictures from outside: what a file is, and what it shows.
//!
//! [`HeaderScan`] reads signature and dimensions of a file that passes by; [`decode`] makes pixels of a file in
//! memory. Files are told by content, never by name.
//!
//! Invariant: no file costs more than its kind of picture at [`MAX_PIXELS`] does. Dimensions are refused before
//! anything is decoded, in every place where a file states them; nothing is unpacked but pixels; and a decoder
//! that panics has refused its file.
//!
//! ```
//! assert_eq!(
//!     darkroom_pictures::decode(b"<svg/>").unwrap_err().to_string(),
//!     "the file is no PNG, JPEG, WebP or GIF image"
//! );
//! ```

mod decode;
mod header;

pub use decode::{DecodeError, decode};
pub use header::{Format, HeaderScan, ImageHeader, MAX_PIXELS, MAX_SIDE, Unusable};
