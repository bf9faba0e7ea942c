"""What a site minimises and trains under the federated methods: losses and small modules in torch.

Only sites import these files; this module itself, and :mod:`fed_backend.objectives.routing`, stay
free of torch, so that the hub may import the package. One file per idea: ``proximal`` (FedProx),
``divergence`` and ``distillation`` (pFedSAM's stage B), ``experts`` (its L-MoE), ``dcml`` (GCML),
``selector`` and ``routing`` (FedSM).
"""
