//! The media types of manifests, configurations and layers: OCI's, and Docker's equivalents.

/// An OCI image manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// An OCI image index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// An OCI image configuration.
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Content that says nothing: `{}`. Source: OCI image-spec, manifest.md, "Guidance for an Empty Descriptor".
pub const OCI_EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// An OCI layer, uncompressed.
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// An OCI layer, gzip.
pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// An OCI layer, zstd.
pub const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
/// A Docker image manifest, schema 2.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// A Docker manifest list.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// A Docker image configuration.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// A Docker layer, gzip.
pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
/// A Docker layer, uncompressed.
pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
/// A Docker layer, zstd: BuildKit's name, which neither Docker's specification nor most registries' clients know.
pub const DOCKER_LAYER_ZSTD: &str = "application/vnd.docker.image.rootfs.diff.tar.zstd";

/// Tells whether a media type is that of a list of manifests.
pub fn is_index(media_type: &str) -> bool {
    matches!(media_type, OCI_INDEX | DOCKER_LIST)
}

/// Returns the OCI name for a Docker media type, and any other name as it is.
///
/// The bytes behind the two are the same for layers and configurations, so an image that is built on a
/// Docker base can be written with OCI names throughout: mixed families are refused by some registries.
pub fn to_oci(media_type: &str) -> &str {
    match media_type {
        DOCKER_MANIFEST => OCI_MANIFEST,
        DOCKER_LIST => OCI_INDEX,
        DOCKER_CONFIG => OCI_CONFIG,
        DOCKER_LAYER_GZIP => OCI_LAYER_GZIP,
        DOCKER_LAYER => OCI_LAYER,
        DOCKER_LAYER_ZSTD => OCI_LAYER_ZSTD,
        other => other,
    }
}

/// Returns Docker's name for an OCI media type, and any other name as it is; none where Docker has no name.
pub fn to_docker(media_type: &str) -> Option<&str> {
    match media_type {
        OCI_MANIFEST => Some(DOCKER_MANIFEST),
        OCI_INDEX => Some(DOCKER_LIST),
        OCI_CONFIG => Some(DOCKER_CONFIG),
        OCI_LAYER_GZIP => Some(DOCKER_LAYER_GZIP),
        OCI_LAYER => Some(DOCKER_LAYER),
        OCI_LAYER_ZSTD | DOCKER_LAYER_ZSTD => None,
        other => Some(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_lead_to_each_other_but_for_zstd() {
        for docker in [DOCKER_MANIFEST, DOCKER_LIST, DOCKER_CONFIG, DOCKER_LAYER_GZIP, DOCKER_LAYER] {
            assert_ne!(to_oci(docker), docker);
            assert_eq!(to_docker(to_oci(docker)), Some(docker));
            assert_eq!(to_docker(docker), Some(docker));
        }
        assert_eq!(to_oci(DOCKER_LAYER_ZSTD), OCI_LAYER_ZSTD);
        assert_eq!((to_docker(OCI_LAYER_ZSTD), to_docker(DOCKER_LAYER_ZSTD)), (None, None));
        assert_eq!((to_oci("x"), to_docker("x")), ("x", Some("x")));
    }
}
