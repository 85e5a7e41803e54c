//! Schedulers against `reference/schedulers.*`: every sample on the way of diffusers 0.42 schedulers with a
//! toy model (`reference/make_schedulers.py`).

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::{Device, Tensor};
use darkroom_jobs::SchedulerKind;
use darkroom_models::{Error, Scheduler, SchedulerConfig, Walk};
use serde::Deserialize;

use crate::parity::report;

/// Largest difference allowed, relative to values over 1.
const TOLERANCE: f32 = 1e-4;

/// Walks that the reference fails to finish where a result exists: its f32 difference of two squares is below
/// 0.
const FINITE_HERE: [(SchedulerKind, &str, usize); 1] =
    [(SchedulerKind::EulerAncestral, "beta_schedule squaredcos_cap_v2", 4)];

#[derive(Deserialize)]
struct Case {
    config: SchedulerConfig,
    named: Option<SchedulerKind>,
    pipeline_sigmas: bool,
    image_tokens: usize,
    options: String,
    walks: Vec<Recorded>,
}

/// What the reference did with a number of steps.
#[derive(Deserialize)]
#[serde(untagged)]
enum Recorded {
    Walked { steps: usize, calls: usize },
    Failed { steps: usize, fails: String },
}

/// The recorded tensors, read from the front.
struct Tape {
    start: Tensor,
    noise: Tensor,
    timesteps: Vec<f32>,
    samples: Vec<Vec<f32>>,
    at: usize,
}

impl Tape {
    fn read() -> Self {
        let file = reference("schedulers.safetensors");
        let tensors: HashMap<String, Tensor> = candle_core::safetensors::load(file, &Device::Cpu).unwrap();
        Self {
            start: tensors["start"].clone(),
            noise: tensors["noise"].clone(),
            timesteps: tensors["timesteps"].to_vec1().unwrap(),
            samples: tensors["samples"].to_vec2().unwrap(),
            at: 0,
        }
    }

    /// The timesteps and samples of the next `calls` calls.
    fn next(&mut self, calls: usize) -> (Vec<f32>, Vec<Vec<f32>>) {
        let range = self.at..self.at + calls;
        self.at = range.end;
        (self.timesteps[range.clone()].to_vec(), self.samples[range].to_vec())
    }
}

/// A line of the table of differences.
pub(crate) struct Row {
    pub(crate) algorithm: &'static str,
    pub(crate) options: String,
    pub(crate) steps: usize,
    /// How far the whole walk is from the reference's; or why neither side walks it.
    pub(crate) outcome: Result<Difference, String>,
}

/// The largest difference on a walk, relative to values over 1.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Difference {
    pub(crate) found: f32,
    /// [`TOLERANCE`], or where latents of thousands cancel (zero terminal SNR) one unit in their last place.
    pub(crate) allowed: f32,
}

fn reference(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference").join(name)
}

/// The difference of every recorded walk, in the order of the recording.
pub(crate) fn rows() -> Vec<Row> {
    let cases = std::fs::read(reference("schedulers.json")).unwrap();
    let cases: Vec<Case> = serde_json::from_slice(&cases).unwrap();
    let mut tape = Tape::read();
    let mut rows = Vec::new();
    for case in cases {
        let algorithm = case.named.map_or_else(|| case.config.algorithm(), Ok).unwrap();
        for recorded in &case.walks {
            let (steps, outcome) = match recorded {
                Recorded::Walked { steps, calls } => {
                    (*steps, Ok(difference(&case, *steps, tape.next(*calls), &tape)))
                }
                Recorded::Failed { steps, fails } => (*steps, Err(refusal(&case, *steps, fails))),
            };
            rows.push(Row { algorithm: algorithm.as_str(), options: case.options.clone(), steps, outcome });
        }
    }
    assert_eq!(tape.at, tape.timesteps.len());
    rows
}

fn scheduler(case: &Case, steps: usize) -> Result<Scheduler, Error> {
    let config = case.config.clone();
    let config = if case.pipeline_sigmas { config.with_pipeline_sigmas() } else { config };
    let algorithm = case.named.map_or_else(|| config.algorithm(), Ok)?;
    Scheduler::new(&config, algorithm, &Walk { steps, image_tokens: case.image_tokens })
}

/// Walks with the toy model, `tanh(0.7 x + t / 1500 - 0.4)`.
fn walk(mut scheduler: Scheduler, tape: &Tape) -> Vec<Vec<f32>> {
    let start = tape.start.reshape((1, 4, 1, 1)).unwrap();
    let mut latents = start.affine(scheduler.init_noise_sigma(), 0.0).unwrap();
    let timesteps = scheduler.timesteps().to_vec();
    let call = |(index, timestep): (usize, f32)| {
        let input = scheduler.scale_model_input(index, &latents).unwrap();
        let output = input.affine(0.7, f64::from(timestep) / 1500.0 - 0.4).unwrap().tanh().unwrap();
        let noise = scheduler
            .needs_noise(index)
            .then(|| tape.noise.get(index).unwrap().reshape((1, 4, 1, 1)).unwrap());
        latents = scheduler.step(index, &output, &latents, noise.as_ref()).unwrap();
        latents.flatten_all().unwrap().to_vec1().unwrap()
    };
    timesteps.into_iter().enumerate().map(call).collect()
}

fn difference(case: &Case, steps: usize, expected: (Vec<f32>, Vec<Vec<f32>>), tape: &Tape) -> Difference {
    let (timesteps, samples) = expected;
    let scheduler =
        scheduler(case, steps).unwrap_or_else(|error| panic!("{}, {steps}: {error}", case.options));
    assert_eq!(scheduler.timesteps().len(), timesteps.len(), "{}, {steps} steps", case.options);
    let relative = |(found, expected): (&f32, &f32)| (found - expected).abs() / expected.abs().max(1.0);
    let of_timesteps = scheduler.timesteps().iter().zip(&timesteps).map(relative).collect::<Vec<_>>();
    let sigma = scheduler.init_noise_sigma() as f32;
    let start = tape.start.to_vec1::<f32>().unwrap();
    let latents = start.iter().map(|value| value * sigma).chain(samples.iter().flatten().copied());
    let largest = latents.fold(0.0, |a: f32, b| a.max(b.abs()));
    let walked = walk(scheduler, tape);
    let of_samples = walked.iter().flatten().zip(samples.iter().flatten()).map(relative);
    // A number that is none is a difference.
    let worse = |a: f32, b: f32| if b.is_nan() { f32::INFINITY } else { a.max(b) };
    let found = of_timesteps.into_iter().chain(of_samples).fold(0.0, worse);
    Difference { found, allowed: TOLERANCE.max(f32::EPSILON * largest) }
}

/// What is said to a walk that the reference cannot finish.
fn refusal(case: &Case, steps: usize, fails: &str) -> String {
    let kind = case.named.map_or_else(|| case.config.algorithm(), Ok).unwrap();
    match scheduler(case, steps) {
        Err(error @ (Error::InvalidInput(_) | Error::Unsupported(_))) => format!("refused: {error}"),
        Ok(scheduler) if FINITE_HERE.contains(&(kind, &case.options, steps)) => {
            assert!(walk(scheduler, &Tape::read()).iter().flatten().all(|value| value.is_finite()));
            "no result in the reference".to_owned()
        }
        other => panic!("{kind:?}, {}, {steps} steps: {fails} there, {:?} here", case.options, other.err()),
    }
}

#[test]
fn walks_are_those_of_the_reference() {
    let rows = rows();
    assert_eq!(rows.len() % 6, 0);
    let mut worst = Vec::new();
    let mut largest = BTreeMap::new();
    for Row { algorithm, options, steps, outcome } in &rows {
        let measured: &mut f32 = largest.entry((algorithm, options)).or_default();
        *measured = outcome.as_ref().map_or(*measured, |difference| measured.max(difference.found));
        if outcome.as_ref().is_ok_and(|difference| difference.found > difference.allowed) {
            worst.push(format!("{algorithm}, {options}, {steps} steps: {outcome:?}"));
        }
    }
    for ((algorithm, options), measured) in largest {
        report(&format!("scheduler {algorithm}"), options, &format!("{measured:.1e}"));
    }
    assert!(worst.is_empty(), "{} of {} differ:\n{}", worst.len(), rows.len(), worst.join("\n"));
}

#[test]
fn every_scheduler_is_recorded_at_every_number_of_steps() {
    let rows = rows();
    for kind in SchedulerKind::ALL {
        for steps in [1, 4, 20, 28, 30, 50] {
            let recorded =
                |row: &&Row| row.algorithm == kind.as_str() && row.steps == steps && row.outcome.is_ok();
            assert!(rows.iter().any(|row| recorded(&row)), "{kind:?}, {steps} steps");
        }
    }
}

fn parsed(class: &str, fields: &str) -> SchedulerConfig {
    serde_json::from_str(&format!(r#"{{"_class_name": "{class}", {fields}}}"#)).unwrap()
}

const WALK: Walk = Walk { steps: 5, image_tokens: 256 };

#[test]
fn variants_that_are_not_implemented_are_refused_by_name() {
    for (class, fields, named) in [
        ("DDIMScheduler", r#""thresholding": true"#, "thresholding"),
        ("LCMScheduler", r#""thresholding": true"#, "thresholding"),
        ("DDIMScheduler", r#""trained_betas": [0.1]"#, "1 betas"),
        ("EulerDiscreteScheduler", r#""use_karras_sigmas": true, "use_beta_sigmas": true"#, "several"),
        ("EulerDiscreteScheduler", r#""prediction_type": "flow_prediction""#, "flow_prediction"),
        ("DPMSolverMultistepScheduler", r#""algorithm_type": "dpmsolver""#, "algorithm_type dpmsolver"),
        ("DPMSolverMultistepScheduler", r#""solver_order": 4"#, "solver_order 4"),
        ("DPMSolverMultistepScheduler", r#""variance_type": "learned""#, "variance_type"),
        ("UniPCMultistepScheduler", r#""solver_order": 0"#, "solver_order 0"),
        ("UniPCMultistepScheduler", r#""solver_p": {}"#, "solver_p"),
        ("FlowMatchEulerDiscreteScheduler", r#""invert_sigmas": true"#, "invert_sigmas"),
    ] {
        let config = parsed(class, fields);
        let result = Scheduler::new(&config, config.algorithm().unwrap(), &WALK);
        let Err(Error::Unsupported(message)) = result else { panic!("{class} {fields}: {result:?}") };
        assert!(message.contains(named), "{message}");
    }
}

#[test]
fn schedulers_of_the_other_kind_of_model_are_refused() {
    let refused = |config: &SchedulerConfig, kind| match Scheduler::new(config, kind, &WALK) {
        Err(Error::InvalidInput(message)) => message,
        other => panic!("{kind:?}: {other:?}"),
    };
    let flow = parsed("FlowMatchEulerDiscreteScheduler", r#""shift": 3.0"#);
    for kind in SchedulerKind::ALL.into_iter().filter(|kind| *kind != SchedulerKind::FlowMatchEuler) {
        assert_eq!(
            refused(&flow, kind),
            format!(
                "this is a flow-matching model: scheduler must be flow_match_euler, not {}",
                kind.as_str()
            )
        );
    }
    let discrete = parsed("EulerDiscreteScheduler", r#""prediction_type": "epsilon""#);
    assert_eq!(
        refused(&discrete, SchedulerKind::FlowMatchEuler),
        "this is no flow-matching model: scheduler must be ddim, pndm, euler, euler_ancestral, dpmpp_2m, \
         dpmpp_2m_karras, lcm or unipc, not flow_match_euler"
    );
    let flow_unipc = parsed("UniPCMultistepScheduler", r#""use_flow_sigmas": true"#);
    let message = refused(&flow_unipc, SchedulerKind::Ddim);
    assert!(message.contains("scheduler must be dpmpp_2m, unipc or flow_match_euler"), "{message}");
}

#[test]
fn steps_out_of_range_are_refused() {
    let discrete = parsed("EulerDiscreteScheduler", r#""timestep_spacing": "leading""#);
    let flow = parsed("FlowMatchEulerDiscreteScheduler", r#""shift": 3.0"#);
    for kind in SchedulerKind::ALL {
        let config = if kind == SchedulerKind::FlowMatchEuler { &flow } else { &discrete };
        for steps in [0, 1001, usize::MAX] {
            let result = Scheduler::new(config, kind, &Walk { steps, image_tokens: 0 });
            assert!(matches!(result, Err(Error::InvalidInput(_))), "{kind:?}, {steps}: {result:?}");
        }
    }
}

#[test]
fn noise_that_is_needed_and_missing_is_an_error() {
    let config = parsed("EulerAncestralDiscreteScheduler", r#""steps_offset": 1"#);
    let mut scheduler = Scheduler::new(&config, SchedulerKind::EulerAncestral, &WALK).unwrap();
    let latents = Tensor::zeros((1, 4, 1, 1), candle_core::DType::F32, &Device::Cpu).unwrap();
    assert!(scheduler.needs_noise(0) && !scheduler.needs_noise(4));
    assert!(matches!(scheduler.step(0, &latents, &latents, None), Err(Error::InvalidInput(_))));
    scheduler.step(4, &latents, &latents, None).unwrap();
}
