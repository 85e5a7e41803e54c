//! How pictures are written.

use serde::{Deserialize, Serialize};

use crate::state::words;

/// How every picture of a job is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawOutput", into = "RawOutput")]
pub struct PictureOutput {
    /// The file format.
    pub format: PictureFormat,
    /// Whether the parameters, and that the picture was generated, are written into the file.
    pub embed_parameters: bool,
}

/// A file format with its settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PictureFormat {
    /// Lossless.
    Png,
    /// JPEG.
    Jpeg(Quality),
    /// Lossy WebP.
    Webp(Quality),
}

words!(
    /// A picture's file format.
    FormatName, "format", "png, jpeg, webp", {
        /// PNG.
        Png = "png",
        /// JPEG.
        Jpeg = "jpeg",
        /// WebP.
        Webp = "webp",
    }
);

/// Quality of a lossy format, 1 to 100, on the scale that libjpeg and libwebp share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quality(u8);

impl Quality {
    /// The largest.
    pub const MAX: u8 = 100;

    /// `None` unless it is 1 to [`Self::MAX`].
    pub fn new(quality: u8) -> Option<Self> {
        (1..=Self::MAX).contains(&quality).then_some(Self(quality))
    }

    /// The number.
    pub fn get(self) -> u8 {
        self.0
    }
}

impl Default for Quality {
    fn default() -> Self {
        Self(90)
    }
}

impl PictureFormat {
    /// The format of this name. `None` when `quality` is given for one that is lossless.
    pub fn new(name: FormatName, quality: Option<Quality>) -> Option<Self> {
        match name {
            FormatName::Png => quality.is_none().then_some(Self::Png),
            FormatName::Jpeg => Some(Self::Jpeg(quality.unwrap_or_default())),
            FormatName::Webp => Some(Self::Webp(quality.unwrap_or_default())),
        }
    }

    /// Its name.
    pub fn name(self) -> FormatName {
        match self {
            Self::Png => FormatName::Png,
            Self::Jpeg(_) => FormatName::Jpeg,
            Self::Webp(_) => FormatName::Webp,
        }
    }

    /// Its quality; `None` where it is lossless.
    pub fn quality(self) -> Option<Quality> {
        match self {
            Self::Png => None,
            Self::Jpeg(quality) | Self::Webp(quality) => Some(quality),
        }
    }
}

impl Default for PictureOutput {
    fn default() -> Self {
        Self { format: PictureFormat::Png, embed_parameters: true }
    }
}

/// As it is stored, beside the other parameters. Tasks stored before there was a choice have none of it.
#[derive(Serialize, Deserialize)]
struct RawOutput {
    #[serde(default = "png")]
    output_format: FormatName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    output_quality: Option<u8>,
    #[serde(default = "yes")]
    embed_parameters: bool,
}

fn png() -> FormatName {
    FormatName::Png
}

fn yes() -> bool {
    true
}

impl TryFrom<RawOutput> for PictureOutput {
    type Error = String;

    fn try_from(raw: RawOutput) -> Result<Self, Self::Error> {
        let RawOutput { output_format, output_quality, embed_parameters } = raw;
        let refused = || format!("{output_quality:?} is no quality of {output_format}");
        let quality = output_quality.map(|quality| Quality::new(quality).ok_or_else(refused)).transpose()?;
        let format = PictureFormat::new(output_format, quality).ok_or_else(refused)?;
        Ok(Self { format, embed_parameters })
    }
}

impl From<PictureOutput> for RawOutput {
    fn from(output: PictureOutput) -> Self {
        Self {
            output_format: output.format.name(),
            output_quality: output.format.quality().map(Quality::get),
            embed_parameters: output.embed_parameters,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(value: Value) -> Result<PictureOutput, serde_json::Error> {
        serde_json::from_value(value)
    }

    #[test]
    fn outputs_survive_storage() {
        let formats =
            [PictureFormat::Png, PictureFormat::Jpeg(Quality(1)), PictureFormat::Webp(Quality::default())];
        for format in formats {
            for embed_parameters in [true, false] {
                let output = PictureOutput { format, embed_parameters };
                assert_eq!(read(serde_json::to_value(output).unwrap()).unwrap(), output);
            }
        }
    }

    #[test]
    fn what_says_nothing_is_a_png_with_parameters() {
        assert_eq!(read(json!({})).unwrap(), PictureOutput::default());
    }

    #[test]
    fn qualities_that_cannot_be_are_refused() {
        for (format, quality) in [("jpeg", 0), ("webp", 101), ("png", 90)] {
            assert!(read(json!({"output_format": format, "output_quality": quality})).is_err(), "{format}");
        }
    }
}
