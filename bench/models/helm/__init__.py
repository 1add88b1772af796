"""HELM-D and HELM-MiCE (arXiv 2505.24722) as models of transformers.

    model = HelmForCausalLM(HelmConfig(kind="helm_mice", vocab_size=1536))

Importing this package registers them with the Auto classes of transformers.
"""

from transformers import AutoConfig, AutoModelForCausalLM

from bench.models.helm.config import HelmConfig
from bench.models.helm.modeling import HelmForCausalLM, HelmModel

__all__ = ["HelmConfig", "HelmForCausalLM", "HelmModel"]

AutoConfig.register(HelmConfig.model_type, HelmConfig, exist_ok=True)
AutoModelForCausalLM.register(HelmConfig, HelmForCausalLM, exist_ok=True)
