//! `tidegate manifest`: what lies in `deploy/`, printed by the program that it is for.

use crate::args::Manifest;

/// The definitions of our kinds; a test tells where one is missing here.
const DEFINITIONS: &[&str] = &[
    include_str!("../../deploy/crds/backendtrafficpolicies.tidegate.dev.yaml"),
    include_str!("../../deploy/crds/clienttrafficpolicies.tidegate.dev.yaml"),
    include_str!("../../deploy/crds/clusterservices.tidegate.dev.yaml"),
    include_str!("../../deploy/crds/gatewaynodes.tidegate.dev.yaml"),
    include_str!("../../deploy/crds/httproutefilters.tidegate.dev.yaml"),
    include_str!("../../deploy/crds/routeadvertisements.tidegate.dev.yaml"),
    include_str!("../../deploy/crds/routeimports.tidegate.dev.yaml"),
    include_str!("../../deploy/crds/vrrpadvertisements.tidegate.dev.yaml"),
];

/// Prints what to apply.
pub fn run(which: Manifest) {
    DEFINITIONS.iter().for_each(|definition| print!("---\n{definition}"));
    print!(
        "---\n{}",
        match which {
            Manifest::Gateway => include_str!("../../deploy/manifests/external.yaml"),
            Manifest::Node => include_str!("../../deploy/manifests/in-cluster.yaml"),
        }
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every definition of `deploy/crds` is printed.
    #[test]
    fn all_definitions() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/crds");
        let mut files: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let texts: Vec<_> = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
        assert_eq!(DEFINITIONS, texts);
    }
}
