//! The job of this server itself: the state series of a cluster.
//!
//! Rule: it is read as a job of prometheus.yml is, with the defaults of the section `global`.

use std::path::Path;

use discovery::DecodeContext;
use scrape::{JobConfig, ScrapeDefaults, scrape_config};

use crate::wiring::own_page::OWN_PAGE_HOST;

/// The name that its job has in kube-prometheus-stack, by which dashboards and rules ask for it.
pub const KUBE_STATE_JOB: &str = "kube-state-metrics";

/// The job that scrapes the page about the cluster. The labels `namespace` and `pod` of its series are those of the
/// objects, not of the target.
///
/// # Errors
///
/// The defaults make no job.
pub fn kube_state_job(defaults: &ScrapeDefaults) -> Result<JobConfig, yaml::Errors> {
    let path = web::KUBE_STATE_PATH;
    let text = format!(
        "{{job_name: {KUBE_STATE_JOB}, honor_labels: true, metrics_path: {path}, \
         static_configs: [{{targets: ['{OWN_PAGE_HOST}:80'], labels: {{instance: crescendo}}}}]}}"
    );
    let decode = DecodeContext { directory: Path::new("."), others: &[] };
    yaml::decode(KUBE_STATE_JOB, &text, |node, report| scrape_config(node, report, defaults, &decode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn job_is_one_that_can_be_scraped() {
        let job = kube_state_job(&ScrapeDefaults::default()).unwrap();
        assert_eq!((job.config.job_name.as_str(), job.config.honor_labels), (KUBE_STATE_JOB, true));
        assert_eq!(job.discovery.len(), 1);
        job.config.check().unwrap();
    }
}
