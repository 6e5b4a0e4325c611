//! Finds the download address for a share link, which opens a page about the file and not the file itself.

use url::Url;

/// The address of the file itself, if the URL is a share link of a known service.
#[must_use]
pub fn direct_download_hint(url: &Url) -> Option<String> {
    let host = url.host_str()?.trim_end_matches('.');
    let is_in_domain = |domain: &str| host == domain || host.ends_with(&format!(".{domain}"));
    let segments: Vec<&str> = url
        .path_segments()
        .map(Iterator::collect)
        .unwrap_or_default();
    let segment_after = |name: &str| {
        segments
            .iter()
            .position(|s| *s == name)
            .and_then(|at| segments.get(at + 1))
            .copied()
    };
    if host == "docs.google.com" && segments.first() == Some(&"spreadsheets") {
        let id = segment_after("d")?;
        return Some(format!(
            "https://docs.google.com/spreadsheets/d/{id}/export?format=xlsx"
        ));
    }
    if host == "drive.google.com" {
        let id = segment_after("d").map(str::to_owned);
        let id = id.or_else(|| {
            url.query_pairs()
                .find(|(key, _)| key == "id")
                .map(|(_, id)| id.into_owned())
        })?;
        return Some(format!(
            "https://drive.google.com/uc?export=download&id={id}"
        ));
    }
    if is_in_domain("dropbox.com") {
        return Some(with_query(url, "dl", "1"));
    }
    if is_in_domain("sharepoint.com") || host == "onedrive.live.com" || host == "1drv.ms" {
        return Some(with_query(url, "download", "1"));
    }
    None
}

fn with_query(url: &Url, key: &str, value: &str) -> String {
    let mut direct = url.clone();
    let others: Vec<(String, String)> = url
        .query_pairs()
        .filter(|(k, _)| k != key)
        .map(|(k, v)| (k.into(), v.into()))
        .collect();
    direct
        .query_pairs_mut()
        .clear()
        .extend_pairs(others)
        .append_pair(key, value);
    direct.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(shared: &str, direct: Option<&str>) {
        assert_eq!(
            direct_download_hint(&Url::parse(shared).unwrap()).as_deref(),
            direct
        );
    }

    #[test]
    fn share_links_give_direct_download_url() {
        check(
            "https://docs.google.com/spreadsheets/d/AbC/edit?usp=sharing",
            Some("https://docs.google.com/spreadsheets/d/AbC/export?format=xlsx"),
        );
        check(
            "https://drive.google.com/file/d/AbC/view",
            Some("https://drive.google.com/uc?export=download&id=AbC"),
        );
        check(
            "https://www.dropbox.com/s/x/c.xlsx?dl=0",
            Some("https://www.dropbox.com/s/x/c.xlsx?dl=1"),
        );
        check(
            "https://team.sharepoint.com/:x:/s/a?e=1",
            Some("https://team.sharepoint.com/:x:/s/a?e=1&download=1"),
        );
        check("https://files.example.org/c.xlsx", None);
        check("https://notdropbox.com/c.xlsx", None);
    }
}
