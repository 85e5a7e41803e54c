//! Text-to-image and image-to-text inference on candle.
//!
//! Synchronous and self-contained: it reads model folders and computes. It knows no async runtime, no network,
//! no database, reads no clock and no environment, and draws no random number that a request's seed does not
//! decide. One request at a time runs on a [`Model`]; progress, results and cancellation go through [`Run`].
//!
//! The same request gives the same bytes on the same kind of device, and no picture depends on which others
//! were made with it.
//!
//! ```
//! use std::sync::atomic::AtomicBool;
//!
//! use darkroom_models::{FakeOptions, Output, Request, Run, fake};
//! use image::RgbImage;
//!
//! # fn main() -> Result<(), darkroom_models::Error> {
//! let mut model = fake(FakeOptions::default());
//! let request = Request::ImageToText { image: RgbImage::new(64, 64), prompt: "a photo of".to_owned() };
//! let mut outputs = Vec::new();
//! let mut run = Run {
//!     canceled: &AtomicBool::new(false),
//!     on_progress: &mut |_| {},
//!     on_output: &mut |output| outputs.push(output),
//!     on_warning: &mut |_| {},
//!     previews: None,
//! };
//! model.run(&request, &mut run)?;
//! assert!(matches!(&outputs[..], [Output::Text(caption)] if caption.starts_with("a photo of")));
//! # Ok(())
//! # }
//! ```
//!
//! A new model family is a module that implements [`Model`] and an arm of [`load`]; `attention`, `layers`,
//! `scheduler`, `weights` and `noise` are there for all of them.

mod attention;
mod blip;
mod clip;
mod device;
mod diffusion;
mod error;
mod fake;
mod feed_forward;
mod flux;
mod folder;
mod kernels;
mod layers;
mod load;
mod lora;
mod memory;
mod model;
mod modulation;
mod noise;
mod parameters;
mod pixels;
mod planes;
mod preprocess;
mod request;
mod resnet;
mod safety;
mod scheduler;
mod sd3;
mod t5;
mod timestep;
mod tokens;
mod unet;
mod vae;
mod weights;

pub use blip::Blip;
pub use device::{DType, Device, start_threads};
pub use diffusion::{Conditioning, Exchange, LatentDiffusion, Noise};
pub use error::{BoxError, Error};
pub use fake::{FakeOptions, fake};
pub use folder::ModelFolder;
pub use kernels::Product;
pub use load::{LoadOptions, load, weights_bytes};
pub use model::{Lora, Model, Output, Preview, Previews, Progress, Request, Run, Warning};
pub use safety::{SafetyChecker, Similarities};
pub use scheduler::{Algorithm, Scheduler, SchedulerConfig, Walk};
pub use vae::VaeEncoder;
