//! A request of nothing but a build, for the tests and fuzz targets of rooms that need one.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{
    AttestationRequest, BuildRequest, CacheRequest, Compression, ContextSource, DockerfileSource, ImageForm,
    IsolationChoice, ResultFiles, RunSettings, SnapshotMode, Snapshots,
};
use crate::oci::Platform;

impl BuildRequest {
    /// Returns a request in which nothing is asked for.
    pub fn plain() -> Self {
        let platform: Platform = "linux/amd64".parse().expect("platform");
        Self {
            form: ImageForm::default(),
            context: ContextSource::Directory(PathBuf::from("/context")),
            context_sub_path: None,
            context_max_size: u64::MAX,
            named_contexts: BTreeMap::new(),
            dockerfile: DockerfileSource::Path { given: "Dockerfile".into(), absolute: "/Dockerfile".into() },
            target: None,
            also_targets: Vec::new(),
            build_args: BTreeMap::new(),
            labels: BTreeMap::new(),
            platform: platform.clone(),
            platforms: vec![platform.clone()],
            platform_is_asked: false,
            build_platform: platform,
            created: 0,
            epoch: None,
            epoch_of: None,
            snapshots: Snapshots::EachStep,
            snapshot_mode: SnapshotMode::Full,
            compression: Compression::Uncompressed,
            ignore_paths: Vec::new(),
            base_images: PathBuf::from("/cache"),
            base_policy: None,
            offline: false,
            materialize: false,
            isolation: IsolationChoice::Auto,
            force: false,
            jobs: 1,
            run: RunSettings::default(),
            cache: CacheRequest::default(),
            state_directory: PathBuf::from("/state"),
            on_failure: None,
            outputs: Vec::new(),
            attestations: AttestationRequest::default(),
            sbom: None,
            check_push: true,
            results: ResultFiles::default(),
        }
    }
}
