//! What the worker relies on when it asks for pictures.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::Tensor;
use darkroom_jobs::{ImageSize, SchedulerKind, TextToImage};
use darkroom_models::{
    Error, Exchange, LatentDiffusion, Model, Output, Preview, Previews, Progress, Request, Run, Warning,
};
use image::RgbImage;
use image::imageops::{FilterType, resize};

use crate::support::{Told, run, run_and_watch, run_with, shapes_sd, task};

fn request(task: TextToImage) -> Request {
    Request::TextToImage { task, loras: vec![], done: vec![] }
}

#[test]
fn one_job_of_three_pictures_is_three_jobs_of_one() {
    let mut model = shapes_sd();
    let three = TextToImage { images: 3, guidance_scale: 4.0, seed: 40, ..task("a red circle") };
    let together = run(&mut model, &request(three.clone()));
    together.result.as_ref().unwrap();
    assert_eq!(together.pictures().len(), 3);
    // The other way round, and by a model that has done nothing before.
    let mut model = shapes_sd();
    for index in [2u32, 0, 1] {
        let one = TextToImage { images: 1, seed: 40 + u64::from(index), ..three.clone() };
        let alone = run(&mut model, &request(one));
        let (_, seed, picture) = together.pictures()[index as usize];
        assert_eq!(alone.pictures(), [(0, seed, picture)]);
    }
}

#[test]
fn different_seeds_and_prompts_give_different_pictures() {
    let mut model = shapes_sd();
    let told = run(&mut model, &request(TextToImage { images: 2, ..task("a red circle") }));
    let other = run(&mut model, &request(TextToImage { guidance_scale: 4.0, ..task("a blue square") }));
    let (first, second) = (told.pictures()[0].2, told.pictures()[1].2);
    assert!(first != second && first != other.pictures()[0].2);
}

#[test]
fn pictures_that_are_done_are_left_out() {
    let mut model = shapes_sd();
    let task = TextToImage { images: 3, ..task("a red circle") };
    let all = run(&mut model, &request(task.clone()));
    let rest = run(&mut model, &Request::TextToImage { task, loras: vec![], done: vec![0, 2] });
    assert_eq!(rest.pictures(), all.pictures()[1..2]);
    let expected = (1..=3).map(|step| Progress { image: 1, images: 3, step, steps: 3 }).collect::<Vec<_>>();
    assert_eq!(rest.progress, expected);
}

#[test]
fn a_canceled_run_takes_no_further_step() {
    let mut model = shapes_sd();
    let canceled = AtomicBool::new(false);
    let request = request(TextToImage { images: 2, ..task("a red circle") });
    let told = run_and_watch(&mut model, &request, &canceled, |progress| {
        if (progress.image, progress.step) == (1, 2) {
            canceled.store(true, Ordering::Relaxed);
        }
    });
    assert!(matches!(told.result, Err(Error::Canceled)));
    assert_eq!((told.progress.len(), told.outputs.len()), (5, 1));

    let told = run_and_watch(&mut model, &request, &canceled, |_| {});
    assert!(matches!(told.result, Err(Error::Canceled)));
    assert_eq!((told.progress.len(), told.outputs.len()), (0, 0));
}

#[test]
fn a_run_canceled_in_its_last_step_emits_nothing() {
    let mut model = shapes_sd();
    let canceled = AtomicBool::new(false);
    let told = run_and_watch(&mut model, &request(task("a red circle")), &canceled, |progress| {
        canceled.store(progress.step == progress.steps, Ordering::Relaxed);
    });
    assert!(matches!(told.result, Err(Error::Canceled)));
    assert!(told.outputs.is_empty());
}

#[test]
fn sizes_that_do_not_halve_evenly_are_drawn() {
    let mut model = shapes_sd();
    for (width, height) in [(8, 8), (72, 40), (136, 24)] {
        let size = ImageSize::new(width, height).unwrap();
        let told = run(&mut model, &request(TextToImage { size, ..task("a red circle") }));
        told.result.as_ref().unwrap();
        assert_eq!(told.pictures()[0].2.dimensions(), (width, height));
    }
}

#[test]
fn one_step_is_enough_for_every_scheduler() {
    let mut model = shapes_sd();
    let named = |kind: &SchedulerKind| !matches!(kind, SchedulerKind::Pndm | SchedulerKind::FlowMatchEuler);
    for scheduler in SchedulerKind::ALL.into_iter().filter(named).map(Some).chain([None]) {
        let told = run(&mut model, &request(TextToImage { steps: 1, scheduler, ..task("a red circle") }));
        told.result.unwrap();
        assert_eq!(told.progress.len(), 1);
    }
}

#[test]
fn schedulers_that_do_not_fit_are_refused_before_the_first_step() {
    let mut model = shapes_sd();
    // This model starts PNDM with three Runge-Kutta steps.
    for (kind, steps) in
        [(SchedulerKind::Pndm, 3), (SchedulerKind::FlowMatchEuler, 20), (SchedulerKind::Lcm, 51)]
    {
        let task = TextToImage { steps, scheduler: Some(kind), ..task("a red circle") };
        let told = run(&mut model, &request(task));
        assert!(matches!(told.result, Err(Error::InvalidInput(_))), "{kind:?}: {:?}", told.result);
        assert!(told.progress.is_empty());
    }
}

#[test]
fn noise_of_stochastic_schedulers_is_decided_by_the_seed() {
    let mut model = shapes_sd();
    for kind in [SchedulerKind::EulerAncestral, SchedulerKind::Lcm] {
        let two = TextToImage { images: 2, scheduler: Some(kind), ..task("a red circle") };
        let together = run(&mut model, &request(two.clone()));
        let second = run(&mut model, &request(TextToImage { images: 1, seed: two.seed + 1, ..two }));
        assert_eq!(together.pictures()[1].2, second.pictures()[0].2);
        assert!(together.pictures()[0].2 != second.pictures()[0].2);
    }
}

#[test]
fn unusable_requests_are_refused_before_the_first_step() {
    let mut model = shapes_sd();
    let task = task("a red circle");
    let tasks = [
        TextToImage { steps: 0, ..task.clone() },
        TextToImage { steps: 1001, ..task.clone() },
        TextToImage { steps: u32::MAX, ..task.clone() },
        TextToImage { guidance_scale: f64::NAN, ..task.clone() },
        TextToImage { guidance_scale: f64::INFINITY, ..task.clone() },
        TextToImage { size: ImageSize::new(1 << 30, 8).unwrap(), ..task.clone() },
    ];
    for task in tasks {
        let told = run(&mut model, &request(task.clone()));
        assert!(matches!(told.result, Err(Error::InvalidInput(_))), "{task:?}");
        assert!(told.progress.is_empty());
    }
    let last_seed = TextToImage { seed: u64::MAX, images: 2, ..task };
    let told = run(&mut model, &request(last_seed));
    assert!(matches!(told.result, Err(Error::InvalidInput(_))));
    assert_eq!(told.outputs.len(), 1);
}

#[test]
fn latents_that_overflow_are_an_error() {
    let mut model = shapes_sd();
    let told = run(&mut model, &request(TextToImage { guidance_scale: 1e38, ..task("a red circle") }));
    assert!(matches!(told.result, Err(Error::NotFinite(_))), "{:?}", told.result);
}

#[test]
fn captions_are_refused() {
    let mut model = shapes_sd();
    let request = Request::ImageToText { image: RgbImage::new(8, 8), prompt: String::new() };
    assert!(matches!(run(&mut model, &request).result, Err(Error::Unsupported(_))));
}

#[test]
fn what_the_text_encoder_does_not_read_is_warned_of() {
    let mut model = shapes_sd();
    let long = format!("a red circle {}the end", "and a blue star ".repeat(20));
    let unguided = TextToImage { negative_prompt: Some(long.clone()), ..task("a red circle") };
    assert_eq!(run(&mut model, &request(unguided.clone())).warnings, []);
    let guided = TextToImage { guidance_scale: 2.0, ..unguided };
    let told = run(&mut model, &request(guided));
    told.result.unwrap();
    let [Warning::PromptTruncated { encoder, dropped, limit }] = &told.warnings[..] else {
        panic!("{:?}", told.warnings)
    };
    assert_eq!((*encoder, *limit), ("text_encoder", 77));
    assert!(long.ends_with(dropped.as_str()) && dropped.ends_with("the end"), "{dropped}");
    assert!(dropped.len() < long.len() - 100, "{dropped}");
}

#[test]
fn noise_is_taken_from_a_file_and_tensors_are_left_in_one() {
    let folder = tempfile::tempdir().unwrap();
    let (noise, dump) = (folder.path().join("noise"), folder.path().join("dump"));
    let mut model = shapes_sd();
    let task = TextToImage { images: 2, ..task("a red circle") };
    let drawn = |model: &LatentDiffusion, seed| model.noise(seed, task.size).unwrap();
    let both = Tensor::cat(&[drawn(&model, 7), drawn(&model, 8)], 0).unwrap();
    candle_core::safetensors::save(&HashMap::from([("noise", both)]), &noise).unwrap();
    let expected = run(&mut model, &request(task.clone()));

    // Other seeds, and yet the same pictures.
    let files = Exchange { noise: Some(noise.clone()), dump: Some(dump.clone()) };
    let told = run_with(&mut model, &request(TextToImage { seed: 99, ..task.clone() }), &files);
    told.result.as_ref().unwrap();
    let pixels =
        |told: &Told| told.pictures().iter().map(|(_, _, image)| (*image).clone()).collect::<Vec<_>>();
    assert!(pixels(&told) == pixels(&expected));
    let left = candle_core::safetensors::load(&dump, &candle_core::Device::Cpu).unwrap();
    assert_eq!((left["latents"].dims(), left["image"].dims()), (&[2, 4, 8, 8][..], &[2, 3, 64, 64][..]));

    let told = run_with(&mut model, &request(TextToImage { images: 3, ..task }), &files);
    let error = told.result.unwrap_err().to_string();
    assert!(
        error.ends_with("(tensor noise): expected shape [3, 4, 8, 8], found shape [2, 4, 8, 8]"),
        "{error}"
    );
}

/// Runs with somebody who wants to see every step.
fn shown(request: &Request) -> (Vec<Preview>, RgbImage) {
    let mut previews = Vec::new();
    let mut pictures = Vec::new();
    let mut run = Run {
        canceled: &AtomicBool::new(false),
        on_progress: &mut |_| {},
        on_output: &mut |output| pictures.push(output),
        on_warning: &mut |_| {},
        previews: Some(Previews { wanted: &|| true, show: &mut |preview| previews.push(preview) }),
    };
    shapes_sd().run(request, &mut run).unwrap();
    match pictures.remove(0) {
        Output::Image { image, .. } => (previews, image),
        Output::Text(_) => panic!("a picture was asked for"),
    }
}

/// How far the colours of two pictures of the same size are apart on average, 0 to 255.
fn apart(one: &RgbImage, other: &RgbImage) -> f64 {
    assert_eq!(one.dimensions(), other.dimensions());
    let bytes = one.as_raw().iter().zip(other.as_raw());
    let sum: u64 = bytes.map(|(one, other)| u64::from(one.abs_diff(*other))).sum();
    sum as f64 / one.as_raw().len() as f64
}

#[test]
fn previews_come_to_look_like_the_picture() {
    let request = request(TextToImage { steps: 20, guidance_scale: 4.0, ..task("a red circle on white") });
    let (previews, picture) = shown(&request);
    assert_eq!(previews.iter().map(|preview| preview.step).collect::<Vec<_>>(), (1..20).collect::<Vec<_>>());
    let (width, height) = previews[0].picture.dimensions();
    assert_eq!((picture.width() % width, picture.height() % height), (0, 0));
    let small = resize(&picture, width, height, FilterType::Triangle);
    let apart = |at: usize| apart(&previews[at].picture, &small);
    let (first, last) = (apart(0), apart(18));
    assert!(last < 60.0 && last < first / 2.0, "first {first}, last {last}");
    // Nobody's looking on changes what is made.
    assert_eq!(run(&mut shapes_sd(), &request).pictures()[0].2, &picture);
}
