#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| darkroom_fuzzed::safetensors(bytes));
