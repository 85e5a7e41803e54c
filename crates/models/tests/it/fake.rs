//! The fake model.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use darkroom_jobs::{ImageSize, TextToImage};
use darkroom_models::{Error, FakeOptions, Lora, Model, Output, Request, Warning, fake};
use image::RgbImage;

use crate::support::{run, run_and_watch, task};

fn model() -> Box<dyn Model> {
    fake(FakeOptions::default())
}

fn draw(task: TextToImage) -> Request {
    Request::TextToImage { task, loras: vec![], done: vec![] }
}

fn picture(task: TextToImage) -> RgbImage {
    let told = run(&mut *model(), &draw(task));
    told.result.as_ref().unwrap();
    told.pictures()[0].2.clone()
}

fn caption(image: RgbImage, prompt: &str) -> Output {
    run(&mut *model(), &Request::ImageToText { image, prompt: prompt.to_owned() }).outputs.remove(0)
}

#[test]
fn pictures_depend_on_prompt_seed_and_size_only() {
    let cat = picture(task("a cat"));
    let same =
        TextToImage { steps: 9, guidance_scale: 7.0, negative_prompt: Some("x".into()), ..task("a cat") };
    assert!(cat == picture(same));
    assert!(cat != picture(task("a dog")));
    assert!(cat != picture(TextToImage { seed: 8, ..task("a cat") }));
    let size = ImageSize::new(8, 2048).unwrap();
    assert_eq!(picture(TextToImage { size, ..task("a cat") }).dimensions(), (8, 2048));
}

#[test]
fn pictures_show_the_loras_in_any_order() {
    let drawn = |loras: &[(&str, f64)]| {
        let lora = |(id, strength): &(&str, f64)| Lora {
            id: (*id).to_owned(),
            path: "not read".into(),
            strength: *strength,
        };
        let loras = loras.iter().map(lora).collect();
        run(&mut *model(), &Request::TextToImage { task: task("a cat"), loras, done: vec![] })
    };
    let picture = |loras: &[(&str, f64)]| drawn(loras).pictures()[0].2.clone();
    assert!(picture(&[("a", 1.0), ("b", 0.5)]) == picture(&[("b", 0.5), ("a", 1.0)]));
    assert!(picture(&[("a", 1.0)]) != picture(&[("a", 0.5)]));
    assert!(picture(&[("a", 1.0)]) != picture(&[]));
    assert!(picture(&[("a", 0.0)]) == picture(&[]));
    assert!(matches!(drawn(&[("a", f64::NAN)]).result, Err(Error::InvalidInput(_))));
    assert!(matches!(drawn(&[("a", 1.0); 5]).result, Err(Error::InvalidInput(_))));
}

#[test]
fn captions_depend_on_pixels_and_start_with_the_prompt() {
    let image = RgbImage::from_pixel(5, 4, image::Rgb([1, 2, 3]));
    let plain = caption(image.clone(), "");
    assert_eq!(plain, caption(image.clone(), ""));
    let mut other = image.clone();
    other.put_pixel(4, 3, image::Rgb([1, 2, 4]));
    assert_ne!(plain, caption(other, ""));
    let (Output::Text(plain), Output::Text(prefixed)) = (plain, caption(image, "a photo of")) else {
        panic!("captions are texts")
    };
    assert_eq!(prefixed, format!("a photo of {plain}"));
}

#[test]
fn pictures_are_counted_and_skipped_as_by_a_real_model() {
    let task = TextToImage { images: 3, ..task("a cat") };
    let told = run(&mut *model(), &Request::TextToImage { task, loras: vec![], done: vec![1] });
    told.result.as_ref().unwrap();
    let emitted = told.pictures().into_iter().map(|(index, seed, _)| (index, seed)).collect::<Vec<_>>();
    assert_eq!(emitted, [(0, 7), (2, 9)]);
    assert_eq!(told.progress.len(), 6);
}

#[test]
fn a_canceled_run_takes_no_further_step() {
    let canceled = AtomicBool::new(false);
    // Long enough that the test would time out if the wait did not see the flag.
    let request = draw(TextToImage { images: 2, ..task("a cat") });
    let told = run_and_watch(&mut *model(), &request, &canceled, |progress| {
        canceled.store((progress.image, progress.step) == (1, 1), Ordering::Relaxed);
    });
    assert!(matches!(told.result, Err(Error::Canceled)));
    assert_eq!((told.progress.len(), told.outputs.len()), (4, 1));
}

#[test]
fn a_long_step_sees_the_cancel_flag() {
    let canceled = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let running = scope.spawn(|| {
            run_and_watch(&mut *model(), &draw(task("a cat [fake:step_ms=3600000]")), &canceled, |_| {})
        });
        canceled.store(true, Ordering::Relaxed);
        let told = running.join().unwrap();
        assert!(matches!(told.result, Err(Error::Canceled)));
        assert!(told.progress.is_empty());
    });
}

#[test]
fn prompts_direct_failures() {
    let result = |prompt: &str| run(&mut *model(), &draw(task(prompt))).result;
    assert!(matches!(result("[fake:out_of_memory]"), Err(Error::OutOfMemory(_))));
    assert!(matches!(result("[fake:invalid_input]"), Err(Error::InvalidInput(_))));
    assert!(matches!(result("[fake:not_finite]"), Err(Error::NotFinite(_))));
    assert!(matches!(result("[fake:fail]"), Err(Error::Device(_))));
    assert!(matches!(result("[fake:unheard_of]"), Err(Error::InvalidInput(_))));
    assert!(catch_unwind(AssertUnwindSafe(|| result("[fake:panic]"))).is_err());
}

#[test]
fn a_failure_can_be_directed_at_a_later_picture() {
    let task = TextToImage { images: 3, ..task("[fake:fail@1]") };
    let told = run(&mut *model(), &draw(task));
    assert!(matches!(told.result, Err(Error::Device(_))));
    assert!(matches!(told.outputs[..], [Output::Image { index: 0, .. }]));
}

#[test]
fn pictures_are_marked_where_the_prompt_directs_it_and_the_task_asks_for_the_check() {
    assert!(model().has_safety_checker());
    for (prompt, safety_check) in [("[fake:nsfw]", true), ("[fake:nsfw]", false), ("a cat", true)] {
        let told = run(&mut *model(), &draw(TextToImage { safety_check, ..task(prompt) }));
        told.result.unwrap();
        let expected = prompt == "[fake:nsfw]" && safety_check;
        assert!(matches!(told.outputs[..], [Output::Image { nsfw, .. }] if nsfw == expected), "{prompt}");
    }
}

#[test]
fn a_hang_ignores_the_cancel_flag_and_is_bounded() {
    let hang_time = Duration::from_millis(20);
    let mut model = fake(FakeOptions { hang_time, ..FakeOptions::default() });
    let canceled = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let running =
            scope.spawn(|| run_and_watch(&mut *model, &draw(task("[fake:hang]")), &canceled, |_| {}));
        let told = running.join().unwrap();
        assert!(matches!(told.result, Err(Error::Device(_))));
    });
}

#[test]
fn a_directed_warning_names_the_text_behind_it() {
    let dropped = || "on a mat".to_owned();
    let warning = Warning::PromptTruncated { encoder: "text_encoder", dropped: dropped(), limit: 77 };
    let told = run(&mut *model(), &draw(TextToImage { images: 2, ..task("a cat [fake:warn] on a mat") }));
    assert_eq!((told.warnings, told.outputs.len()), (vec![warning.clone()], 2));
    let prompt = "a cat [fake:warn] on a mat".to_owned();
    let caption = Request::ImageToText { image: RgbImage::new(8, 8), prompt };
    assert_eq!(run(&mut *model(), &caption).warnings, [warning]);
    assert_eq!(run(&mut *model(), &draw(task("a cat"))).warnings, []);
}
