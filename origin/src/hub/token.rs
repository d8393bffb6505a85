use reqwest::header::HeaderValue;

/// The token that the environment names: `HF_TOKEN`, else the file `HF_TOKEN_PATH`, else the one that the hub's own tools write.
/// Its text is in no error.
pub(super) fn find(variable: impl Fn(&str) -> Option<String>) -> Result<Option<HeaderValue>, &'static str> {
    let said = |name: &str| variable(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
    let path = said("HF_TOKEN_PATH").or_else(|| Some(format!("{}/.cache/huggingface/token", said("HOME")?)));
    let kept = || std::fs::read_to_string(path?).ok().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    let Some(token) = said("HF_TOKEN").or_else(kept) else { return Ok(None) };
    let mut value = HeaderValue::try_from(format!("Bearer {token}"))
        .map_err(|_| "its token (HF_TOKEN, or the file HF_TOKEN_PATH) has characters that no token has")?;
    value.set_sensitive(true);
    Ok(Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(variables: &[(&str, &str)]) -> Option<String> {
        let variable = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        find(variable).unwrap().map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn a_token_is_where_the_hubs_own_tools_have_it() {
        let home = tempfile::TempDir::new().unwrap();
        let home_path = home.path().to_str().unwrap();
        assert_eq!(found(&[("HOME", home_path)]), None);
        std::fs::create_dir_all(home.path().join(".cache/huggingface")).unwrap();
        std::fs::write(home.path().join(".cache/huggingface/token"), "hf_kept\n").unwrap();
        std::fs::write(home.path().join("other"), "hf_other\n").unwrap();
        let other = home.path().join("other").to_str().unwrap().to_owned();
        assert_eq!(found(&[("HOME", home_path)]).as_deref(), Some("Bearer hf_kept"));
        assert_eq!(found(&[("HOME", home_path), ("HF_TOKEN_PATH", &other)]).as_deref(), Some("Bearer hf_other"));
        assert_eq!(found(&[("HF_TOKEN", " hf_said "), ("HF_TOKEN_PATH", &other)]).as_deref(), Some("Bearer hf_said"));
        assert_eq!(found(&[]), None);
    }

    #[test]
    fn a_token_is_not_repeated() {
        let error = find(|name| (name == "HF_TOKEN").then(|| "hush\nhush".to_owned())).unwrap_err();
        assert!(!error.contains("hush"));
        let token = find(|name| (name == "HF_TOKEN").then(|| "hush".to_owned())).unwrap().unwrap();
        assert!(!format!("{token:?}").contains("hush"));
    }
}
