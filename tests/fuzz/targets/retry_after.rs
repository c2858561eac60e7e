#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kora_gateway::fuzzing::retry_after(data));
