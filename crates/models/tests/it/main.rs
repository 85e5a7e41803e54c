//! The models against recorded outputs of diffusers and transformers, and the contract that the worker relies
//! on.

#![expect(clippy::unwrap_used, reason = "a test ends at the first thing that goes wrong")]

mod bad_files;
mod blip;
#[cfg(feature = "cuda")]
mod cuda;
mod deep_cache;
mod fake;
mod families;
mod flux;
mod judged;
mod loading;
mod lora;
mod parity;
mod prompts;
mod safety;
mod schedulers;
mod sd3;
mod sdxl;
mod stable_diffusion;
mod support;
mod text_to_image;
mod vae;
mod walks;
