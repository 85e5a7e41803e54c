//! `darkroom caption`.

use std::path::PathBuf;

use clap::Args;
use darkroom_client::{CaptionRequest, Job};
use serde::Serialize;
use uuid::Uuid;

use crate::dry_run::try_out;
use crate::failure::{Outcome, complain};
use crate::follow::follow;
use crate::image::{Image, check_images};
use crate::session::{Form, Session};
use crate::show::{ending, plain, warnings};
use crate::wanted::{QueueOptions, Wanted};

#[derive(Debug, Args)]
pub(crate) struct Caption {
    /// Pictures: PNG, JPEG, WebP or GIF; `-` reads one from the input. In place of a file, a URL that begins with
    /// http:// or https://, from which the service fetches the picture
    #[arg(value_name = "FILE", required_unless_present = "sent")]
    files: Vec<PathBuf>,

    /// Id of a picture that was sent with `darkroom files add`; can be given several times
    #[arg(long = "file", value_name = "ID")]
    sent: Vec<Uuid>,

    /// Words the captions start with
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,

    #[command(flatten)]
    queue: QueueOptions,
}

/// A job and the picture it describes.
#[derive(Serialize)]
struct Described<'a> {
    file: String,
    #[serde(flatten)]
    job: &'a Job,
}

impl Caption {
    pub(super) async fn run(self, session: &Session) -> anyhow::Result<Outcome> {
        let images = self.files.into_iter().map(Image::given).chain(self.sent.into_iter().map(Image::Sent));
        let images: Vec<Image> = images.collect();
        check_images(&images)?;
        let request = CaptionRequest {
            model: self.queue.model.clone(),
            options: self.queue.job_options(),
            prompt: self.prompt,
            ..CaptionRequest::default()
        };
        let wanted: Vec<Wanted> =
            images.iter().map(|image| Wanted::caption(image.clone(), &request)).collect();
        if self.queue.dry_run {
            return try_out(session, &wanted).await;
        }
        let report = |number: usize, job: &Job, ()| {
            let (image, outcome) = (&images[number], Outcome::of_state(job.state));
            warnings(job).for_each(complain);
            if outcome != Outcome::Done {
                complain(format_args!("{image}: {}", ending(job)));
            }
            let line = || match (caption(job).unwrap_or_default(), images.len()) {
                (caption, 1) => caption,
                (caption, _) => format!("{image}: {caption}"),
            };
            if outcome == Outcome::Done || session.form == Form::Json {
                session.print(line, &Described { file: image.to_string(), job })?;
            }
            Ok(outcome)
        };
        follow(session, &wanted, None, async |_, _| Ok(()), report).await
    }
}

/// The job's caption, on one line.
pub(super) fn caption(job: &Job) -> Option<String> {
    job.artifacts.iter().find_map(|artifact| artifact.text.as_deref()).map(plain)
}
