//! The HTTP service of Darkroom: jobs in, results out.
//!
//! A request's key is checked before its body is read, its body is read in bounded memory and time, and what
//! it leaves in storage is deleted unless its job is accepted. Workers are reached through the database only:
//! nothing here knows of the broker or of models. Every refusal is a [`Problem`].
//!
//! [`router`] is the whole API as a service for tests and [`Server`], [`admin_router`] what operators are answered;
//! `commands` is what the program does.

mod admin;
mod admission;
mod api;
mod auth;
mod backlog;
mod batches;
pub mod commands;
pub mod config;
mod cursor;
mod deadline;
mod etag;
mod files;
mod intake;
mod jobs;
mod key;
mod mint;
mod models;
mod name;
mod observe;
mod openapi;
mod prefer;
mod problem;
mod query;
mod rates;
mod results;
mod server;
mod shares;
mod surfaces;
mod unread;
mod usage;
mod watch;
mod webhooks;

pub use admission::{Capacity, Refusal};
pub use api::{Api, ApiParts, admin_router, router};
pub use auth::{Reader, Submitter, TenantKey};
pub use darkroom_links::Links;
pub use jobs::resource::JobView;
pub use mint::Mint;
pub use problem::{Error, Legacy, Problem, ProblemField};
pub use server::Server;
pub use watch::Watch;
