//! The first NVIDIA GPU against the recorded outputs, in each precision. Built with the feature `cuda` only.

use darkroom_jobs::{ImageSize, Pipeline, TextToImage};
use darkroom_models::{
    Blip, DType, Device, Error, LatentDiffusion, LoadOptions, Output, Request, load, weights_bytes,
};

use crate::stable_diffusion::cases;
use crate::support::{models, psnr, recorded_image, run, task, walk_from};

/// Least quality of a picture in decibels: an f16 result is another rounding of the same walk.
const PRECISIONS: [(DType, f32); 3] = [(DType::F32, 60.0), (DType::F16, 30.0), (DType::BF16, 20.0)];

#[test]
fn pictures_agree_with_the_reference_in_every_precision() {
    let device = Device::cuda(0).unwrap();
    for (dtype, least) in PRECISIONS {
        let options = LoadOptions { dtype: Some(dtype), ..LoadOptions::default() };
        let model = LatentDiffusion::load(&models().join("shapes-sd").into(), &device, &options).unwrap();
        for case in cases() {
            let noise = model.noise(0, ImageSize::new(128, 128).unwrap()).unwrap();
            let noise = case.noise.to_device(noise.device()).unwrap();
            let scheduler = model.scheduler(&case.task).unwrap();
            let conditioning = model.condition(&case.task).unwrap();
            let latents =
                model.denoise(&walk_from(&noise), &conditioning, scheduler, &mut |_, _| Ok(())).unwrap();
            let image = model.decode(&latents).unwrap().to_device(case.image.device()).unwrap();
            let quality = psnr(&image, &case.image);
            println!("{dtype}, case {}: picture {quality:.1} dB", case.number);
            assert!(quality >= least, "{dtype}, case {}: {quality} dB", case.number);
        }
    }
}

#[test]
fn captions_are_those_of_the_reference_in_every_precision() {
    let device = Device::cuda(0).unwrap();
    for (dtype, _) in PRECISIONS {
        let mut model = Blip::load(
            &models().join("shapes-blip").into(),
            &device,
            &LoadOptions { dtype: Some(dtype), ..LoadOptions::default() },
        )
        .unwrap();
        let image = recorded_image("caption-6.png");
        let told = run(&mut model, &Request::ImageToText { image, prompt: "a photo of".to_owned() });
        let expected = "a photo of a large yellow diamond on a red background";
        assert_eq!(told.outputs, [Output::Text(expected.to_owned())], "{dtype}");
    }
}

#[test]
fn the_same_request_gives_the_same_bytes() {
    let device = Device::cuda(0).unwrap();
    let folder = models().join("shapes-sd").into();
    let options = LoadOptions::default();
    let mut model = load(&folder, Pipeline::TextToImage, &device, &options).unwrap();
    assert_eq!(
        model.memory_bytes(),
        weights_bytes(&folder, Pipeline::TextToImage, &device, &options).unwrap()
    );
    let task = TextToImage { images: 2, guidance_scale: 4.0, ..task("a red circle") };
    let first = run(&mut *model, &Request::TextToImage { task: task.clone(), loras: vec![], done: vec![] });
    let again = run(&mut *model, &Request::TextToImage { task, loras: vec![], done: vec![0] });
    first.result.as_ref().unwrap();
    assert!(first.pictures()[1..] == again.pictures());
}

/// The largest picture: on a GPU that cannot hold its activations it must end in an answer and not in a crash,
/// and the model must still work.
#[test]
fn the_largest_picture_is_drawn_or_refused_for_lack_of_memory() {
    let device = Device::cuda(0).unwrap();
    let mut model =
        load(&models().join("shapes-sd").into(), Pipeline::TextToImage, &device, &LoadOptions::default())
            .unwrap();
    let size = ImageSize::new(4096, 4096).unwrap();
    let huge = Request::TextToImage {
        task: TextToImage { size, steps: 1, ..task("a red circle") },
        loras: vec![],
        done: vec![],
    };
    let result = run(&mut *model, &huge).result;
    println!("4096 x 4096: {result:?}");
    assert!(matches!(result, Ok(()) | Err(Error::OutOfMemory(_))), "{result:?}");
    run(&mut *model, &Request::TextToImage { task: task("a red circle"), loras: vec![], done: vec![] })
        .result
        .unwrap();
}
