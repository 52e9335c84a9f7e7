//! Jobs and rules that objects of a cluster add to a configuration.
//!
//! Rule: they are read as a prometheus.yml is; an object of which one part is wrong is left out as a whole, with the
//! reason, and the others go on.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::Path;

use discovery::{DecodeContext, OtherKind};
use kubernetes::operator::{Generated, Origin};
use kubernetes::targets::{KEY, kubernetes_sd};
use promql::Features;
use rules::RuleGroup;
use scrape::{JobConfig, ScrapeDefaults, scrape_config};
use serde_json::Value;
use yaml::{Node, Report};

use super::ServerConfig;
use super::global::{Global, global};

/// What one object adds.
#[derive(Clone, Debug)]
pub struct FoundObject {
    /// The object.
    pub origin: Origin,
    /// Its scrape jobs.
    pub jobs: Vec<JobConfig>,
    /// Its rules, with the interval that holds for them.
    pub rule_groups: Vec<RuleGroup>,
    /// A number that changes with what it became.
    pub fingerprint: u64,
}

impl FoundObject {
    /// The names of its jobs and groups.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        let jobs = self.jobs.iter().map(|job| job.config.job_name.as_str());
        jobs.chain(self.rule_groups.iter().map(|group| &*group.name)).collect()
    }
}

/// What all objects add.
#[derive(Clone, Debug, Default)]
pub struct FoundConfig {
    /// The objects that are right, in the order of their jobs and files.
    pub objects: Vec<FoundObject>,
    /// Those that are left out, and why.
    pub rejected: Vec<(Origin, String)>,
}

/// What objects are read with.
#[derive(Clone, Copy, Debug)]
pub struct FoundContext<'a> {
    /// What is in force without them.
    pub config: &'a ServerConfig,
    /// Switches of the query language.
    pub features: &'a Features,
    /// How the cluster is reached in which targets are found; none: the own one.
    pub kubeconfig: Option<&'a Path>,
}

impl FoundConfig {
    /// Reads what objects became.
    ///
    /// # Errors
    ///
    /// What holds for all of them is wrong.
    pub fn read(made: &Generated, context: FoundContext<'_>) -> Result<Self, yaml::Errors> {
        let global = own_global(made, context.config)?;
        let mut reader = Reader {
            names: context.config.jobs.iter().map(|job| job.config.job_name.clone()).collect(),
            defaults: &global.scrape,
            context,
        };
        let mut found = Self::default();
        let mut jobs: BTreeMap<&Origin, Vec<&Value>> = BTreeMap::new();
        let mut order = Vec::new();
        for job in &made.jobs {
            let of = jobs.entry(&job.origin).or_default();
            if of.is_empty() {
                order.push(&job.origin);
            }
            of.push(&job.config);
        }
        for origin in order {
            let configs = jobs.remove(origin).unwrap_or_default();
            let text: String = configs.iter().map(ToString::to_string).collect();
            found.take(origin, &text, reader.jobs(&configs).map(|jobs| (jobs, Vec::new())));
        }
        for file in &made.rule_files {
            let text = file.content.to_string();
            let groups = rules::parse_rule_file(&file.name, &text, context.features);
            let groups = groups.map(|groups| with_intervals(groups, &global)).map_err(|errors| errors.to_string());
            found.take(&file.origin, &text, groups.map(|groups| (Vec::new(), groups)));
        }
        let reasons = made.rejected.iter().map(|rejected| (rejected.origin.clone(), rejected.reason.to_string()));
        found.rejected.extend(reasons);
        Ok(found)
    }

    fn take(&mut self, origin: &Origin, text: &str, read: Result<(Vec<JobConfig>, Vec<RuleGroup>), String>) {
        match read {
            Ok((jobs, rule_groups)) => {
                let mut hasher = DefaultHasher::new();
                text.hash(&mut hasher);
                let (origin, fingerprint) = (origin.clone(), hasher.finish());
                self.objects.push(FoundObject { origin, jobs, rule_groups, fingerprint });
            }
            Err(reason) => self.rejected.push((origin.clone(), reason)),
        }
    }
}

/// What holds for the objects: the Prometheus object says it.
fn own_global(made: &Generated, config: &ServerConfig) -> Result<Global, yaml::Errors> {
    let mut section = made.global.clone();
    // The labels of this server are those of its own configuration.
    section.remove("external_labels");
    let text = Value::Object(section).to_string();
    let read = |node: &Node, report: &mut Report| global(node, report, &|_name| None);
    let mut global = yaml::decode("global", &text, read)?;
    global.scrape.extra_scrape_metrics = config.global.scrape.extra_scrape_metrics;
    Ok(global)
}

fn with_intervals(groups: Vec<RuleGroup>, global: &Global) -> Vec<RuleGroup> {
    let with_defaults = |group: RuleGroup| RuleGroup {
        interval: group.interval.or(Some(global.evaluation_interval)),
        query_offset: group.query_offset.or(Some(global.rule_query_offset)),
        ..group
    };
    groups.into_iter().map(with_defaults).collect()
}

struct Reader<'a> {
    /// Names of jobs that are taken.
    names: BTreeSet<String>,
    defaults: &'a ScrapeDefaults,
    context: FoundContext<'a>,
}

impl Reader<'_> {
    /// The jobs of one object.
    fn jobs(&mut self, configs: &[&Value]) -> Result<Vec<JobConfig>, String> {
        let jobs = configs.iter().map(|config| self.job(config)).collect::<Result<Vec<_>, _>>()?;
        let mut names = BTreeSet::new();
        for job in &jobs {
            let name = &job.config.job_name;
            if self.names.contains(name) || !names.insert(name.clone()) {
                return Err(format!("another job has the same name: `{name}`"));
            }
        }
        self.names.append(&mut names);
        Ok(jobs)
    }

    fn job(&self, config: &Value) -> Result<JobConfig, String> {
        let mut config = config.clone();
        if let Some(kubeconfig) = self.context.kubeconfig {
            for discovery in config.get_mut(KEY).and_then(Value::as_array_mut).into_iter().flatten() {
                if let Some(discovery) = discovery.as_object_mut().filter(|of| !of.contains_key("api_server")) {
                    discovery.insert("kubeconfig_file".to_owned(), Value::from(kubeconfig.to_string_lossy()));
                }
            }
        }
        let folder = Path::new(".");
        let kubernetes = |node: &Node, report: &mut Report| kubernetes_sd(node, report, folder);
        let others = [OtherKind { key: KEY, decode: &kubernetes }];
        let decode = DecodeContext { directory: folder, others: &others };
        let name = config["job_name"].as_str().unwrap_or("job").to_owned();
        let job = yaml::decode(&name, &config.to_string(), |node, report| {
            scrape_config(node, report, self.defaults, &decode)
        });
        let job = job.map_err(|errors| errors.to_string())?;
        job.config.clone().check().map_err(|errors| errors.to_string())?;
        Ok(job)
    }
}
