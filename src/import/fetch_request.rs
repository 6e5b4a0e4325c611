//! Turns import settings into a request: address, credentials with the decrypted password, and what is known of the file.

use super::{ImportError, Importer, MissingSetting};
use crate::address::{Address, S3Address, SftpAddress, UrlError, is_region};
use crate::fetch::{Credentials, FetchTarget, HostKeyVerifier, Request, Validators};
use crate::model::AccountId;
use crate::model::run::FileMetadata;
use crate::model::settings::{PASSWORD_COLUMN, S3_SECRET_COLUMN, SourceKind};
use crate::secrets::{Binding, Keyring};
use crate::store::Settings;

/// Region if neither the settings nor the address name one and the server is not Amazon's. Such servers usually have no regions.
const DEFAULT_REGION: &str = "us-east-1";

/// The region that requests for an object are signed for.
///
/// # Errors
/// [`MissingSetting`] if there is none, or it is not the name of a region.
pub fn s3_region(address: &S3Address, setting: Option<&str>) -> Result<String, MissingSetting> {
    let setting = setting.map(str::trim).filter(|region| !region.is_empty());
    let endpoint_region = address.endpoint.as_ref().map(|_| DEFAULT_REGION);
    let region = setting
        .or(address.region.as_deref())
        .or(endpoint_region)
        .ok_or(MissingSetting::S3Region)?;
    if is_region(region) {
        Ok(region.to_owned())
    } else {
        Err(MissingSetting::InvalidS3Region(region.to_owned()))
    }
}

fn require_setting(value: Option<&str>, missing: MissingSetting) -> Result<&str, MissingSetting> {
    value
        .filter(|value| !value.trim().is_empty())
        .ok_or(missing)
}

fn validators(known: &FileMetadata) -> Validators {
    Validators {
        etag: known.etag.clone(),
        last_modified: known.last_modified.clone(),
        size_and_mtime: known.size_bytes.zip(known.mtime),
    }
}

/// The HTTPS address of a target: it may be a share link, which needs another hint.
pub(super) fn web_url(target: &FetchTarget) -> Option<String> {
    match target {
        FetchTarget::Http { url, .. } => Some(url.to_string()),
        FetchTarget::Sftp { .. } | FetchTarget::S3 { .. } => None,
    }
}

fn address(settings: &Settings) -> Result<Address, ImportError> {
    let url = require_setting(settings.url.as_deref(), MissingSetting::Address)?;
    Address::parse(settings.source, url, settings.port()).map_err(|error| match error {
        UrlError::WrongScheme { .. } => ImportError::SchemeRefused(error),
        other => MissingSetting::InvalidAddress(other).into(),
    })
}

/// The address of the account's file on an SFTP server.
pub(super) fn sftp_address(settings: &Settings) -> Result<SftpAddress, ImportError> {
    match address(settings)? {
        Address::Sftp(address) => Ok(address),
        Address::Http(_) | Address::S3(_) => Err(MissingSetting::NotSftp.into()),
    }
}

impl Importer {
    /// Reads the settings and decrypts the password.
    pub(super) fn build_target(
        &self,
        account: AccountId,
        settings: &Settings,
    ) -> Result<FetchTarget, ImportError> {
        let address = address(settings)?;
        let decrypt = |ciphertext: Option<&[u8]>, field, missing: MissingSetting| {
            let ciphertext = ciphertext.ok_or(missing)?;
            let binding = Binding {
                account: account.0,
                field,
                origin: &address.origin(),
            };
            let keys = Keyring::load(&self.options.key_file).map_err(ImportError::Secret)?;
            keys.decrypt(ciphertext, binding)
                .map_err(ImportError::Secret)
        };
        let login = || {
            Ok::<_, ImportError>(Credentials {
                username: require_setting(settings.username.as_deref(), MissingSetting::Username)?
                    .to_owned(),
                password: decrypt(
                    settings.password_sealed.as_deref(),
                    PASSWORD_COLUMN,
                    MissingSetting::Password,
                )?,
            })
        };
        Ok(match address.clone() {
            Address::Http(url) => FetchTarget::Http {
                url,
                credentials: if settings.source == SourceKind::HttpsBasic {
                    Some(login()?)
                } else {
                    None
                },
            },
            Address::Sftp(address) => FetchTarget::Sftp {
                address,
                credentials: login()?,
                host_key: HostKeyVerifier::new(settings.host_key()),
            },
            Address::S3(address) => {
                let region = s3_region(&address, settings.s3_region.as_deref())?;
                let id = require_setting(
                    settings.s3_access_key_id.as_deref(),
                    MissingSetting::S3AccessKeyId,
                )?;
                let credentials = Credentials {
                    username: id.trim().to_owned(),
                    password: decrypt(
                        settings.s3_secret_sealed.as_deref(),
                        S3_SECRET_COLUMN,
                        MissingSetting::S3Secret,
                    )?,
                };
                FetchTarget::S3 {
                    address,
                    region,
                    credentials,
                }
            }
        })
    }

    /// The request for the file; conditional if `known` is the file of the last applied run.
    pub(super) fn request(
        &self,
        account: AccountId,
        settings: &Settings,
        known: Option<&FileMetadata>,
    ) -> Result<Request, ImportError> {
        Ok(Request {
            previous: known.map(validators),
            ..Request::new(self.build_target(account, settings)?)
        })
    }
}
