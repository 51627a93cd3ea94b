//! Hints about failed requests.

use google_cloud_gax::error::rpc::Code;

/// What to do about a request that failed with this code.
pub(super) fn help(code: Option<Code>) -> &'static str {
    match code {
        Some(Code::NotFound) => {
            "it does not exist; `cargo xtask deploy` creates what is declared, and `cargo xtask dev` on this machine"
        }
        Some(Code::PermissionDenied | Code::Unauthenticated) => {
            "not allowed; `cargo xtask doctor` looks at your credentials"
        }
        _ => "check that the service answers there, and PUBSUB_EMULATOR_HOST",
    }
}
