//! The VAE in both directions against `tests/reference/vae.safetensors` (`make_vae.py`): diffusers 0.42 in f32.

use darkroom_models::{Device, Error, LatentDiffusion, LoadOptions, VaeEncoder};

use crate::parity::same;
use crate::support::{largest_difference, reference_file, reference_folder};

#[test]
fn pictures_are_encoded_as_by_the_reference() {
    let recorded = reference_file("vae.safetensors");
    let encoder = VaeEncoder::load(&reference_folder("sd15").into(), &Device::cpu()).unwrap();
    let encoded = encoder.encode(&recorded["pictures"]).unwrap();
    same("VAE", "encoding two pictures", &encoded, &recorded["encoded"]);
    let second = encoder.encode(&recorded["pictures"].narrow(0, 1, 1).unwrap()).unwrap();
    assert!(largest_difference(&second, &encoded.narrow(0, 1, 1).unwrap()) <= 1e-5);
    let odd = recorded["pictures"].narrow(2, 0, 44).unwrap();
    assert!(matches!(encoder.encode(&odd), Err(Error::InvalidInput(_))));
}

#[test]
fn tiles_are_put_together_as_by_the_reference() {
    let recorded = reference_file("vae.safetensors");
    let options = LoadOptions::default();
    let model = LatentDiffusion::load(&reference_folder("sd15").into(), &Device::cpu(), &options).unwrap();
    let tiled = model.decode_tiled(&recorded["latents"]).unwrap();
    same("VAE", "decoding in tiles", &tiled, &recorded["tiled"]);
    assert!(largest_difference(&tiled, &model.decode(&recorded["latents"]).unwrap()) > 1e-3);
}
