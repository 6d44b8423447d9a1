//! `GET /runtimes`.

use axum::Json;
use axum::extract::State;
use rgrid_api::runtimes::{RuntimeBody, RuntimeList};
use rgrid_core::runtime::{Images, PYTHON_MINOR, Python, SandboxKind};

use crate::auth::Member;
use crate::state::App;

/// List runtimes
#[utoipa::path(get, path = "/runtimes", tag = "executions", responses((status = 200, body = RuntimeList)))]
pub(crate) async fn list(State(app): State<App>, _: Member) -> Json<RuntimeList> {
    let pythons = PYTHON_MINOR.filter_map(Python::new);
    let mut runtimes: Vec<RuntimeBody> = pythons
        .filter_map(|python| {
            let image = match app.sandbox {
                SandboxKind::Process => None,
                SandboxKind::Docker => Some(app.images.of_python(python).ok()?.to_string()),
            };
            Some(RuntimeBody { name: python.to_string(), image })
        })
        .collect();
    let own_images = match &app.images {
        Images::Own => true,
        Images::Listed(listed) => {
            let images = listed.iter().map(|(short, image)| (short.clone(), Some(image.to_string())));
            runtimes.extend(images.map(|(name, image)| RuntimeBody { name, image }));
            false
        }
    };
    Json(RuntimeList { runtimes, own_images })
}
