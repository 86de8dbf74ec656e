//! The engines there are.

use std::path::Path;

use trireme_core::build_id;
use trireme_core::request::EngineChoice;
use trireme_engine::{Adapter, Engine, EngineError, Settings, SettingsError};

use crate::plugin::{self, PluginError};

/// The engines that this build has linked in.
pub fn linked_in() -> Vec<&'static dyn Adapter> {
    vec![
        #[cfg(feature = "wasmtime")]
        &trireme_engine_wasmtime::ADAPTER,
        #[cfg(feature = "wasmer")]
        &trireme_engine_wasmer::ADAPTER,
    ]
}

/// Why a chosen engine cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ChoiceError {
    /// There is none of that name.
    #[error(
        "handler \"{handler}\": no engine \"{engine}\"; there are: {there}. Correct [handlers.{handler}] engine \
         in {config}, or name a plugin in [engines.{engine}]"
    )]
    Unknown {
        /// The handler.
        handler: String,
        /// The engine it names.
        engine: String,
        /// The engines there are.
        there: String,
        /// The file to correct.
        config: String,
    },
    /// It is to come from a plugin, which cannot be used.
    #[error("{}", choice.unusable(&why.to_string()))]
    Plugin {
        /// What was chosen.
        choice: Box<EngineChoice>,
        /// Why.
        why: PluginError,
    },
    /// It does not enforce a limit that the handler sets.
    #[error(
        "handler \"{handler}\": engine \"{engine}\" cannot enforce limits.{limit}; remove it from \
         [handlers.{handler}.limits] in {config}"
    )]
    Limit {
        /// The handler.
        handler: String,
        /// The engine.
        engine: String,
        /// The limit.
        limit: trireme_engine::Limit,
        /// The file to correct.
        config: String,
    },
    /// Its settings are wrong.
    #[error(
        "handler \"{handler}\": engine \"{engine}\": {source}; correct [handlers.{handler}.settings] in \
         {config}"
    )]
    Settings {
        /// The handler.
        handler: String,
        /// The engine.
        engine: String,
        /// What is wrong.
        source: Box<SettingsError>,
        /// The file to correct.
        config: String,
    },
    /// It does not start.
    #[error("handler \"{handler}\": engine \"{engine}\": {source}")]
    Create {
        /// The handler.
        handler: String,
        /// The engine.
        engine: String,
        /// Why.
        source: EngineError,
    },
    /// The build that holds it cannot be identified.
    #[error("{}", choice.unusable(&why.to_string()))]
    Build {
        /// What was chosen.
        choice: Box<EngineChoice>,
        /// Why.
        why: build_id::BuildIdError,
    },
}

/// The adapter of a choice. A plugin is opened for good, so this belongs where
/// the host's files are still there.
pub fn adapter(choice: &EngineChoice) -> Result<&'static dyn Adapter, ChoiceError> {
    if let Some(file) = &choice.plugin {
        return plugin::open(&choice.engine, file, Some(choice)).map_err(|why| {
            ChoiceError::Plugin {
                choice: Box::new(choice.clone()),
                why,
            }
        });
    }
    linked_in()
        .into_iter()
        .find(|adapter| adapter.info().name == choice.engine)
        .ok_or_else(|| {
            let linked_in = linked_in();
            let linked_in = linked_in.iter().map(|adapter| adapter.info().name);
            let plugins = choice.plugins.iter().map(String::as_str);
            let there: Vec<_> = linked_in.chain(plugins).collect();
            ChoiceError::Unknown {
                handler: choice.handler.clone(),
                engine: choice.engine.clone(),
                there: there.join(", "),
                config: choice.config.display().to_string(),
            }
        })
}

/// Creates the engine of a choice with its settings and limits.
pub fn create(choice: &EngineChoice) -> Result<Box<dyn Engine>, ChoiceError> {
    create_by(adapter(choice)?, choice)
}

/// The same by the choice's adapter.
pub fn create_by(
    adapter: &dyn Adapter,
    choice: &EngineChoice,
) -> Result<Box<dyn Engine>, ChoiceError> {
    let info = adapter.info();
    let (handler, engine) = (choice.handler.clone(), choice.engine.clone());
    let config = choice.config.display().to_string();
    if let Some((limit, _)) = choice
        .limits
        .set()
        .find(|(limit, _)| !info.limits.contains(limit))
    {
        return Err(ChoiceError::Limit {
            handler,
            engine,
            limit,
            config,
        });
    }
    let settings = match Settings::check(info.settings, &choice.settings) {
        Ok(settings) => settings,
        Err(source) => {
            return Err(ChoiceError::Settings {
                handler,
                engine,
                source: Box::new(source),
                config,
            });
        }
    };
    adapter
        .create(&settings, &choice.limits)
        .map_err(|source| ChoiceError::Create {
            handler,
            engine,
            source,
        })
}

/// Identifies the build that holds the compiler of a choice.
pub fn build(choice: &EngineChoice) -> Result<String, ChoiceError> {
    build_id::of_engine(choice.plugin.as_deref(), Path::new("/proc/self/exe")).map_err(|why| {
        ChoiceError::Build {
            choice: Box::new(choice.clone()),
            why,
        }
    })
}
