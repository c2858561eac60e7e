//! Compiles the protos, without `protoc`, into `OUT_DIR`: messages and service stubs, the catalogue of
//! error reasons, and the descriptor set that reflection serves.

use std::{env, error::Error, fmt::Write as _, fs, path::PathBuf};

use prost_reflect::{DescriptorPool, DynamicMessage, Value};

/// Where the protos are.
const PROTO_ROOT: &str = "proto";

/// The files that are compiled; what they import comes along.
const PROTO_FILES: [&str; 2] = [
    "kora/compliance/v1/compliance_service.proto",
    "kora/compliance/v1/error_reason.proto",
];

/// The API's package.
const PACKAGE: &str = "kora.compliance.v1";

/// The number of `google.rpc.Code.OK`, which no error has.
const CODE_OK: i32 = 0;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={PROTO_ROOT}");
    let out = PathBuf::from(env::var("OUT_DIR")?);

    let mut compiler = protox::Compiler::new([PROTO_ROOT])?;
    compiler
        .include_imports(true)
        .include_source_info(true)
        .open_files(PROTO_FILES)?;

    // Compiled again without comments: reflection's clients have no use for them. Only this encoded form keeps
    // the custom options; a decoded `FileDescriptorSet` of prost's drops them.
    let mut for_reflection = protox::Compiler::new([PROTO_ROOT])?;
    for_reflection
        .include_imports(true)
        .open_files(PROTO_FILES)?;
    fs::write(
        out.join("descriptors.bin"),
        for_reflection.encode_file_descriptor_set(),
    )?;
    fs::write(
        out.join("reasons.rs"),
        reason_table(&compiler.descriptor_pool())?,
    )?;

    let pool = compiler.descriptor_pool();
    let messages: Vec<_> = pool
        .all_messages()
        .filter(|message| message.package_name() == PACKAGE && !message.is_map_entry())
        .map(|message| message.full_name().to_owned())
        .collect();
    fs::write(out.join("debug_by_name.rs"), debug_by_name(&messages)?)?;

    // Methods of an API that is complete but not yet served answer UNIMPLEMENTED by the generated default.
    tonic_prost_build::configure()
        .generate_default_stubs(true)
        .extern_path(".google.rpc.Status", "::tonic_types::pb::Status")
        .skip_debug(messages.iter().map(|name| format!(".{name}")))
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}

/// Messages print their name alone: most hold personal data, and a field that comes later could too.
fn debug_by_name(messages: &[String]) -> Result<String, std::fmt::Error> {
    let mut code = String::new();
    for name in messages.iter().filter_map(|name| name.rsplit('.').next()) {
        writeln!(
            code,
            "impl ::std::fmt::Debug for {name} {{
                fn fmt(&self, out: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {{
                    out.write_str(\"{name}(..)\")
                }}
            }}"
        )?;
    }
    Ok(code)
}

/// Writes `enum Reason` and its tables from the options of `ErrorReason`'s values.
fn reason_table(pool: &DescriptorPool) -> Result<String, Box<dyn Error>> {
    let reasons = pool
        .get_enum_by_name("kora.compliance.v1.ErrorReason")
        .ok_or("ErrorReason is missing")?;
    let extension = pool
        .get_extension_by_name("kora.compliance.v1.reason")
        .ok_or("the reason option is missing")?;

    let mut variants = String::new();
    let mut rows = String::new();
    for value in reasons.values().filter(|value| value.number() != 0) {
        let name = value
            .name()
            .strip_prefix("ERROR_REASON_")
            .ok_or("a reason lacks its prefix")?
            .to_owned();
        let options = value.options();
        if !options.has_extension(&extension) {
            return Err(format!("{name} has no reason option").into());
        }
        let spec = options.get_extension(&extension);
        let spec = spec.as_message().ok_or("the reason option is no message")?;
        let code = number(spec, "code")?;
        let outcome = match number(spec, "outcome")? {
            0 => "None",
            1 => "Some(Outcome::NotSent)",
            2 => "Some(Outcome::Rejected)",
            3 => "Some(Outcome::Accepted)",
            4 => "Some(Outcome::Unknown)",
            other => return Err(format!("{name} has the unknown outcome {other}").into()),
        };
        let message = text(spec, "message")?;
        if code == CODE_OK || message.is_empty() {
            return Err(format!("{name} lacks a code or a message").into());
        }
        let variant = camel_case(&name);
        writeln!(variants, "    /// `{name}`: {message}.\n    {variant},")?;
        writeln!(
            rows,
            "    Specification {{ reason: Reason::{variant}, name: {name:?}, code: {code}, outcome: {outcome}, message: {message:?} }},"
        )?;
    }
    Ok(format!(
        "/// Why a call failed; `ErrorReason` of the API has the whole story of each.\n\
         #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]\n\
         pub enum Reason {{\n{variants}}}\n\n\
         /// One row for each reason, in the order of the variants.\n\
         const SPECIFICATIONS: &[Specification] = &[\n{rows}];\n"
    ))
}

fn number(message: &DynamicMessage, field: &str) -> Result<i32, Box<dyn Error>> {
    match message.get_field_by_name(field).as_deref() {
        Some(Value::EnumNumber(number)) => Ok(*number),
        _ => Err(format!("the reason option has no enum field {field}").into()),
    }
}

fn text(message: &DynamicMessage, field: &str) -> Result<String, Box<dyn Error>> {
    match message.get_field_by_name(field).as_deref() {
        Some(Value::String(text)) => Ok(text.clone()),
        _ => Err(format!("the reason option has no text field {field}").into()),
    }
}

/// `KORA_UNREACHABLE` → `KoraUnreachable`.
fn camel_case(name: &str) -> String {
    name.split('_')
        .map(|word| {
            let (first, rest) = word.split_at(1);
            first.to_owned() + &rest.to_lowercase()
        })
        .collect()
}
