use super::*;

fn files(paths: &[&str]) -> Vec<RemoteFile> {
    let file = |path: &&str| RemoteFile { path: (*path).to_owned(), size_bytes: 1, digest: None, etag: None };
    paths.iter().map(file).collect()
}

fn shelf(files: &[RemoteFile]) -> Shelf<'_> {
    Shelf { subject: "a/b", files, base: "" }
}

fn paths(files: &[RemoteFile]) -> Vec<&str> {
    files.iter().map(|file| &*file.path).collect()
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

const SD: [&str; 22] = [
    ".gitattributes",
    "README.md",
    "feature_extractor/preprocessor_config.json",
    "model_index.json",
    "safety_checker/config.json",
    "safety_checker/model.safetensors",
    "safety_checker/pytorch_model.bin",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "text_encoder/model.fp16.safetensors",
    "text_encoder/model.safetensors",
    "tokenizer/merges.txt",
    "tokenizer/vocab.json",
    "unet/config.json",
    "unet/diffusion_pytorch_model.bin",
    "unet/diffusion_pytorch_model.fp16.safetensors",
    "unet/diffusion_pytorch_model.non_ema.safetensors",
    "unet/diffusion_pytorch_model.safetensors",
    "v1-5-pruned.ckpt",
    "v1-5-pruned.safetensors",
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
];

#[test]
fn one_form_of_each_component_is_taken() {
    let files = files(&SD);
    let components = names(&["scheduler", "text_encoder", "tokenizer", "unet", "vae"]);
    let full = shelf(&files).pipeline(&components, &BTreeSet::new(), Precision::Full).unwrap();
    assert_eq!(
        paths(&full),
        [
            "model_index.json",
            "scheduler/scheduler_config.json",
            "text_encoder/config.json",
            "text_encoder/model.safetensors",
            "tokenizer/merges.txt",
            "tokenizer/vocab.json",
            "unet/config.json",
            "unet/diffusion_pytorch_model.safetensors",
            "vae/config.json",
            "vae/diffusion_pytorch_model.safetensors",
        ]
    );
    let half = shelf(&files).pipeline(&components, &BTreeSet::new(), Precision::Half).unwrap();
    let weights: Vec<&str> = paths(&half).into_iter().filter(|path| path.ends_with("safetensors")).collect();
    assert_eq!(
        weights,
        [
            "text_encoder/model.fp16.safetensors",
            "unet/diffusion_pytorch_model.fp16.safetensors",
            "vae/diffusion_pytorch_model.safetensors",
        ]
    );
}

#[test]
fn weights_that_come_from_elsewhere_are_left_out() {
    let files = files(&SD);
    let elsewhere = BTreeSet::from(["unet"]);
    let needed = shelf(&files).pipeline(&names(&["unet"]), &elsewhere, Precision::Full).unwrap();
    assert_eq!(paths(&needed), ["model_index.json", "unet/config.json"]);
}

#[test]
fn shards_come_with_their_index() {
    let files = files(&[
        "config.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.fp16-00001-of-00002.safetensors",
        "model.fp16-00002-of-00002.safetensors",
        "model.safetensors.index.fp16.json",
        "model.safetensors.index.json",
    ]);
    assert_eq!(
        paths(&shelf(&files).component(Precision::Full).unwrap()),
        [
            "config.json",
            "model.safetensors.index.json",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors"
        ]
    );
    assert_eq!(
        paths(&shelf(&files).component(Precision::Half).unwrap()),
        [
            "config.json",
            "model.safetensors.index.fp16.json",
            "model.fp16-00001-of-00002.safetensors",
            "model.fp16-00002-of-00002.safetensors"
        ]
    );
}

#[test]
fn folder_inside_a_repository_is_a_component() {
    let files =
        files(&["vae/config.json", "vae/diffusion_pytorch_model.fp16.safetensors", "vae/deep/er.json"]);
    let shelf = Shelf { base: "vae", ..shelf(&files) };
    let needed = shelf.component(Precision::Full).unwrap();
    assert_eq!(paths(&needed), ["vae/config.json", "vae/diffusion_pytorch_model.fp16.safetensors"]);
}

#[test]
fn pickles_are_named_and_not_taken() {
    let files = files(&["config.json", "pytorch_model.bin"]);
    let problem = shelf(&files).component(Precision::Full).unwrap_err().to_string();
    assert_eq!(
        problem,
        "a/b cannot be used: the folder \"\" has no diffusion_pytorch_model.safetensors or model.safetensors, \
         only pytorch_model.bin, which is never read"
    );
    let problem = shelf(&[]).component(Precision::Full).unwrap_err().to_string();
    assert_eq!(problem, "a/b cannot be used: there is neither model_index.json nor config.json");
}

#[test]
fn components_are_those_that_the_index_does_not_leave_empty() {
    let index = serde_json::json!({
        "_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.6.0", "force_zeros": true,
        "unet": ["diffusers", "UNet2DConditionModel"], "safety_checker": [null, null]
    });
    assert_eq!(components_of(&index), names(&["unet"]));
}
