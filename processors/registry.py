"""All processors by the type name that settings files use. Adding one is a file, a line here and a test file."""

from processors import cost, genai, metadata, privacy
from processors.base import ProcessorType

PROCESSORS: dict[str, ProcessorType] = {
    "privacy": ProcessorType(privacy.PrivacySettings, privacy.create, "drops prompt and completion content"),
    "metadata": ProcessorType(metadata.MetadataSettings, metadata.create, "collects the caller's trace metadata"),
    "genai": ProcessorType(genai.GenAiSettings, genai.create, "fills the canonical columns: model, tokens, user, ..."),
    "cost": ProcessorType(cost.CostSettings, cost.create, "takes the reported cost, or computes it from model prices"),
}
