//! How a key in a KMS is named: the URIs of cosign.
//!
//! Source: <https://docs.sigstore.dev/cosign/key_management/overview/>; sigstore, `pkg/signature/kms`.

use std::fmt;
use std::str::FromStr;

/// The forms, for messages.
const AWS: &str = "awskms:///KEY-ID, awskms:///alias/NAME or awskms:///arn:aws:kms:…, with a host between the second and \
                   the third slash where it is not the region's own";
const GOOGLE: &str = "gcpkms://projects/P/locations/L/keyRings/R/cryptoKeys/K, with /versions/N for one version";
const AZURE: &str = "azurekms://VAULT.vault.azure.net/KEY, with /VERSION for one version";

/// A key in the KMS of a cloud.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyUri {
    text: String,
    pub(super) place: Place,
}

/// In which cloud it is, and where there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Amazon's KMS.
    Aws {
        /// `host[:port]`, if not that of the region.
        endpoint: Option<String>,
        /// A key's id or ARN, an alias or its ARN.
        id: String,
        /// The region, where the ARN tells it.
        region: Option<String>,
    },
    /// Google's KMS.
    Google {
        /// The resource name of the key.
        key: String,
        /// One of its versions; else the newest that is enabled.
        version: Option<String>,
    },
    /// A vault of Azure.
    Azure {
        /// The vault's host.
        vault: String,
        /// The key's name.
        name: String,
        /// One of its versions; else the newest.
        version: Option<String>,
        /// What a token must be for.
        cloud: AzureCloud,
    },
}

/// One of Azure's clouds, and what it has keys in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AzureCloud {
    /// The end of the hosts.
    suffix: &'static str,
    /// What a token must be for.
    pub(super) scope: &'static str,
    /// Where Entra ID is.
    pub(super) authority: &'static str,
}

const PUBLIC: &str = "https://login.microsoftonline.com";
const CHINA: &str = "https://login.chinacloudapi.cn";
const GOVERNMENT: &str = "https://login.microsoftonline.us";

/// A token goes to these hosts only. Source: Azure SDK for Go, `azkeys` and `azcore/cloud`.
const AZURE_CLOUDS: [AzureCloud; 6] = [
    AzureCloud { suffix: ".vault.azure.net", scope: "https://vault.azure.net/.default", authority: PUBLIC },
    AzureCloud { suffix: ".managedhsm.azure.net", scope: "https://managedhsm.azure.net/.default", authority: PUBLIC },
    AzureCloud { suffix: ".vault.azure.cn", scope: "https://vault.azure.cn/.default", authority: CHINA },
    AzureCloud { suffix: ".managedhsm.azure.cn", scope: "https://managedhsm.azure.cn/.default", authority: CHINA },
    AzureCloud {
        suffix: ".vault.usgovcloudapi.net",
        scope: "https://vault.usgovcloudapi.net/.default",
        authority: GOVERNMENT,
    },
    AzureCloud {
        suffix: ".managedhsm.usgovcloudapi.net",
        scope: "https://managedhsm.usgovcloudapi.net/.default",
        authority: GOVERNMENT,
    },
];

impl KeyUri {
    /// Tells whether a text names a key by a URI, and not a file: also one that is not understood.
    pub fn is_one(text: &str) -> bool {
        let scheme = text.split_once("://").map_or("", |(scheme, _)| scheme);
        !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    }
}

impl fmt::Display for KeyUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for KeyUri {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
        let place = match scheme {
            "awskms" => aws(rest).ok_or_else(|| format!("write {AWS}"))?,
            "gcpkms" => google(rest).ok_or_else(|| format!("write {GOOGLE}"))?,
            "azurekms" => azure(rest)?,
            _ => {
                return Err(format!(
                    "keys of `{scheme}://` are not supported: give a file, or a key in a KMS as awskms://, gcpkms:// or \
                     azurekms://"
                ));
            }
        };
        Ok(Self { text: text.to_owned(), place })
    }
}

fn is_word(text: &str, more: &[u8]) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || more.contains(&byte);
    // In a URL, dots alone would lead up.
    !text.is_empty() && text.bytes().all(fits) && !text.starts_with('.') && !text.contains("..")
}

/// Reads `[ENDPOINT]/KEY`.
fn aws(rest: &str) -> Option<Place> {
    let (endpoint, id) = rest.split_once('/')?;
    if !endpoint.is_empty() && !is_word(endpoint, b".-:[]") {
        return None;
    }
    let endpoint = (!endpoint.is_empty()).then(|| endpoint.to_owned());
    let is_alias = |text: &str| text.strip_prefix("alias/").is_some_and(|name| is_word(name, b"/_-"));
    // `mrk-` stands before the ids of keys in several regions.
    let is_key = |text: &str| is_word(text, b"-") && text.trim_start_matches("mrk-").len() >= 32;
    let region = if id.starts_with("arn:") {
        let parts: Vec<&str> = id.splitn(6, ':').collect();
        let ["arn", partition, "kms", region, account, resource] = parts[..] else { return None };
        let is_resource = is_alias(resource) || resource.strip_prefix("key/").is_some_and(is_key);
        let fits = is_word(partition, b"-") && is_word(region, b"-") && is_word(account, b"") && is_resource;
        fits.then(|| Some(region.to_owned()))?
    } else {
        (is_alias(id) || is_key(id)).then_some(None)?
    };
    Some(Place::Aws { endpoint, id: id.to_owned(), region })
}

/// Reads `projects/P/locations/L/keyRings/R/cryptoKeys/K[/versions/N]`.
fn google(rest: &str) -> Option<Place> {
    let parts: Vec<&str> = rest.split('/').collect();
    let (key, version) = match parts[..] {
        ["projects", _, "locations", _, "keyRings", _, "cryptoKeys", _] => (&parts[..], None),
        // Both names of a version are in use.
        [.., "versions" | "cryptoKeyVersions", version] if parts.len() == 10 => (&parts[..8], Some(version)),
        _ => return None,
    };
    let ["projects", project, "locations", location, "keyRings", ring, "cryptoKeys", name] = key else { return None };
    // The project of an organisation has its domain before it.
    let fits = is_word(project, b"-.:") && [location, ring, name].iter().all(|part| is_word(part, b"-_"));
    let fits = fits && version.is_none_or(|version| version.bytes().all(|byte| byte.is_ascii_digit()));
    let version = version.map(str::to_owned);
    (fits && version.as_deref() != Some("")).then(|| Place::Google { key: key.join("/"), version })
}

/// Reads `VAULT/KEY[/VERSION]`.
fn azure(rest: &str) -> Result<Place, String> {
    let parts: Vec<&str> = rest.split('/').collect();
    let (vault, name, version) = match parts[..] {
        [vault, name] | [vault, name, ""] => (vault, name, None),
        [vault, name, version] => (vault, name, Some(version)),
        _ => return Err(format!("write {AZURE}")),
    };
    let is_part = |text: &str| is_word(text, b"-");
    if !is_part(name) || !version.is_none_or(is_part) {
        return Err(format!("write {AZURE}"));
    }
    let host = vault.to_ascii_lowercase();
    let is_of = |cloud: &&AzureCloud| host.strip_suffix(cloud.suffix).is_some_and(is_part);
    let Some(cloud) = AZURE_CLOUDS.iter().find(is_of) else {
        let known: Vec<String> = AZURE_CLOUDS.iter().map(|cloud| format!("*{}", cloud.suffix)).collect();
        return Err(format!("`{vault}` is no vault: its host is one of {}; write {AZURE}", known.join(", ")));
    };
    Ok(Place::Azure { vault: host, name: name.to_owned(), version: version.map(str::to_owned), cloud: *cloud })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "1234abcd-12ab-34cd-56ef-1234567890ab";
    const KEY: &str = "projects/p/locations/global/keyRings/r/cryptoKeys/k";

    fn told(text: &str) -> String {
        match text.parse::<KeyUri>().map(|uri| uri.place) {
            Ok(Place::Aws { endpoint, id, region }) => {
                format!("{id} at {} in {}", endpoint.unwrap_or_default(), region.unwrap_or_default())
            }
            Ok(Place::Google { key, version }) => format!("{key} version {}", version.unwrap_or_default()),
            Ok(Place::Azure { vault, name, version, cloud }) => {
                format!("{name} {} in {vault} for {}", version.unwrap_or_default(), cloud.scope)
            }
            Err(reason) => format!("! {reason}"),
        }
    }

    #[test]
    fn all_forms_of_cosign_are_read() {
        let arn = format!("arn:aws:kms:us-east-2:111122223333:key/{ID}");
        let multi = format!("arn:aws-cn:kms:cn-north-1:111122223333:key/mrk-{}", ID.replace('-', ""));
        for (text, expected) in [
            (format!("awskms:///{ID}"), format!("{ID} at  in ")),
            (format!("awskms://localhost:4566/{ID}"), format!("{ID} at localhost:4566 in ")),
            (format!("awskms:///{arn}"), format!("{arn} at  in us-east-2")),
            (format!("awskms://[::1]:4566/{arn}"), format!("{arn} at [::1]:4566 in us-east-2")),
            (format!("awskms:///{multi}"), format!("{multi} at  in cn-north-1")),
            ("awskms:///alias/team/Release_1".to_owned(), "alias/team/Release_1 at  in ".to_owned()),
            (
                "awskms://vpce-1.kms.us-east-1.vpce.amazonaws.com/arn:aws-us-gov:kms:us-gov-west-1:1:alias/r".to_owned(),
                "arn:aws-us-gov:kms:us-gov-west-1:1:alias/r at vpce-1.kms.us-east-1.vpce.amazonaws.com in us-gov-west-1"
                    .to_owned(),
            ),
            (format!("gcpkms://{KEY}"), format!("{KEY} version ")),
            (format!("gcpkms://{KEY}/versions/12"), format!("{KEY} version 12")),
            (format!("gcpkms://{KEY}/cryptoKeyVersions/1"), format!("{KEY} version 1")),
            (
                format!("gcpkms://{}", KEY.replace("/p/", "/example.com:p/")),
                format!("{} version ", KEY.replace("/p/", "/example.com:p/")),
            ),
            (
                "azurekms://Team.vault.azure.net/release".to_owned(),
                "release  in team.vault.azure.net for https://vault.azure.net/.default".to_owned(),
            ),
            (
                "azurekms://team.managedhsm.azure.net/release/0a1b/".trim_end_matches('/').to_owned(),
                "release 0a1b in team.managedhsm.azure.net for https://managedhsm.azure.net/.default".to_owned(),
            ),
            (
                "azurekms://team.vault.azure.cn/release/".to_owned(),
                "release  in team.vault.azure.cn for https://vault.azure.cn/.default".to_owned(),
            ),
        ] {
            assert!(KeyUri::is_one(&text));
            assert_eq!(told(&text), expected, "{text}");
            assert_eq!(text.parse::<KeyUri>().expect("a key").to_string(), text);
        }
    }

    #[test]
    fn what_is_no_key_is_refused_with_the_form() {
        for (text, expected) in [
            ("awskms://", "write awskms:///KEY-ID"),
            ("awskms://alias/release", "write awskms:///KEY-ID"),
            ("awskms:///release", "write awskms:///KEY-ID"),
            ("awskms:///alias/", "write awskms:///KEY-ID"),
            ("awskms:///arn:aws:s3:us-east-1:1:key/1234abcd-12ab-34cd-56ef-1234567890ab", "write awskms:///KEY-ID"),
            ("awskms://user@host/1234abcd-12ab-34cd-56ef-1234567890ab", "write awskms:///KEY-ID"),
            ("awskms:///1234abcd-12ab-34cd-56ef-1234567890ab?x=1", "write awskms:///KEY-ID"),
            ("gcpkms://projects/p/locations/l/keyRings/r", "write gcpkms://projects/"),
            ("gcpkms://projects/p/locations/l/keyRings/r/cryptoKeys/k/versions/x", "write gcpkms://projects/"),
            ("gcpkms://projects/p/locations/l/keyRings/r/cryptoKeys/k/versions/", "write gcpkms://projects/"),
            ("gcpkms://projects/p/locations/l/keyRings/../cryptoKeys/k", "write gcpkms://projects/"),
            ("gcpkms://projects/../locations/l/keyRings/r/cryptoKeys/k", "write gcpkms://projects/"),
            ("awskms://a..b/alias/release", "write awskms:///KEY-ID"),
            ("gcpkms://projects//locations/l/keyRings/r/cryptoKeys/k", "write gcpkms://projects/"),
            ("azurekms://team.vault.azure.net", "write azurekms://VAULT"),
            ("azurekms://team.vault.azure.net/a/b/c", "write azurekms://VAULT"),
            ("azurekms://team.vault.azure.net/a%2Fb", "write azurekms://VAULT"),
            ("azurekms://team/release", "`team` is no vault"),
            ("azurekms://team.vault.azure.net.example.com/release", "is no vault"),
            ("azurekms://x@evil.example/.vault.azure.net", "write azurekms://VAULT"),
            ("hashivault://release", "keys of `hashivault://` are not supported"),
            ("k8s://ns/secret", "awskms://, gcpkms:// or azurekms://"),
        ] {
            assert!(KeyUri::is_one(text), "{text}");
            assert!(told(text).starts_with('!') && told(text).contains(expected), "{text}: {}", told(text));
        }
        for file in ["key.pem", "/a/b", "a b://c", "://x", "C:/key"] {
            assert!(!KeyUri::is_one(file), "{file}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1024))]
        #[test]
        fn what_is_read_is_written_again_and_makes_a_url(
            scheme in "(aws|gcp|azure)kms",
            host in "([a-z.]{1,3}(:[0-9]{1,2})?|team.vault.azure.net|projects|[ -~]{0,6})",
            rest in "(alias/[a-z]{1,3}|[a-z0-9/%?#@. -]{0,20}|[.a]{1,2}/locations/[.:a]{1,2}/keyRings/r/cryptoKeys/k)",
        ) {
            let text = format!("{scheme}://{host}/{rest}");
            if let Ok(uri) = text.parse::<KeyUri>() {
                prop_assert_eq!(uri.to_string(), text);
                let parts = match uri.place {
                    Place::Aws { endpoint, .. } => endpoint.unwrap_or_default(),
                    Place::Google { key, .. } => key,
                    Place::Azure { vault, name, .. } => format!("{vault}/{name}"),
                };
                // Nothing in it leads elsewhere in a URL.
                prop_assert!(!parts.contains(['?', '#', '@', '%', ' ', '\\']) && !parts.contains(".."), "{}", parts);
            }
        }
    }
}
