//! Builds a request from import settings: address, credentials with the decrypted password, and validators of the last file.

use super::{ImportError, Importer, SettingsError};
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
/// [`SettingsError`] if there is none, or it is not the name of a region.
pub fn s3_region(address: &S3Address, setting: Option<&str>) -> Result<String, SettingsError> {
    let setting = setting.map(str::trim).filter(|region| !region.is_empty());
    let endpoint_region = address.endpoint.as_ref().map(|_| DEFAULT_REGION);
    let region = setting
        .or(address.region.as_deref())
        .or(endpoint_region)
        .ok_or(SettingsError::S3RegionMissing)?;
    if is_region(region) {
        Ok(region.to_owned())
    } else {
        Err(SettingsError::InvalidS3Region(region.to_owned()))
    }
}

fn require_setting(value: Option<&str>, missing: SettingsError) -> Result<&str, SettingsError> {
    value
        .filter(|value| !value.trim().is_empty())
        .ok_or(missing)
}

fn validators(file: &FileMetadata) -> Validators {
    Validators {
        etag: file.etag.clone(),
        last_modified: file.last_modified.clone(),
        size_and_mtime: file.size_bytes.zip(file.mtime),
    }
}

/// The HTTPS address of a target, for a hint in the error message if it is a share link.
pub(super) fn web_url(target: &FetchTarget) -> Option<String> {
    match target {
        FetchTarget::Http { url, .. } => Some(url.to_string()),
        FetchTarget::Sftp { .. } | FetchTarget::S3 { .. } => None,
    }
}

fn address(settings: &Settings) -> Result<Address, ImportError> {
    let url = require_setting(settings.url.as_deref(), SettingsError::AddressMissing)?;
    Address::parse(settings.source, url, settings.port()).map_err(|error| match error {
        UrlError::WrongScheme { .. } => ImportError::SchemeRefused(error),
        other => SettingsError::InvalidAddress(other).into(),
    })
}

/// The address of the account's file on an SFTP server.
pub(super) fn sftp_address(settings: &Settings) -> Result<SftpAddress, ImportError> {
    match address(settings)? {
        Address::Sftp(address) => Ok(address),
        Address::Http(_) | Address::S3(_) => Err(SettingsError::NotSftp.into()),
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
        let decrypt = |ciphertext: Option<&[u8]>, field, missing: SettingsError| {
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
        let login_credentials = || {
            Ok::<_, ImportError>(Credentials {
                username: require_setting(
                    settings.username.as_deref(),
                    SettingsError::UsernameMissing,
                )?
                .to_owned(),
                password: decrypt(
                    settings.password_sealed.as_deref(),
                    PASSWORD_COLUMN,
                    SettingsError::PasswordMissing,
                )?,
            })
        };
        Ok(match address.clone() {
            Address::Http(url) => FetchTarget::Http {
                url,
                credentials: if settings.source == SourceKind::HttpsBasic {
                    Some(login_credentials()?)
                } else {
                    None
                },
            },
            Address::Sftp(address) => FetchTarget::Sftp {
                address,
                credentials: login_credentials()?,
                host_key: HostKeyVerifier::new(settings.host_key()),
            },
            Address::S3(address) => {
                let region = s3_region(&address, settings.s3_region.as_deref())?;
                let access_key_id = require_setting(
                    settings.s3_access_key_id.as_deref(),
                    SettingsError::S3AccessKeyIdMissing,
                )?;
                let credentials = Credentials {
                    username: access_key_id.trim().to_owned(),
                    password: decrypt(
                        settings.s3_secret_sealed.as_deref(),
                        S3_SECRET_COLUMN,
                        SettingsError::S3SecretMissing,
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

    /// The request for the file; conditional if `last_applied`, the file of the last applied run, is given.
    pub(super) fn request(
        &self,
        account: AccountId,
        settings: &Settings,
        last_applied: Option<&FileMetadata>,
    ) -> Result<Request, ImportError> {
        Ok(Request {
            previous: last_applied.map(validators),
            ..Request::new(self.build_target(account, settings)?)
        })
    }
}
