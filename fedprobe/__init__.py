"""Debug machine-learning models on data nobody may look at.

fedprobe trains generative models on selected users' private data with federated learning and user-level
differential privacy (Augenstein et al., *Generative Models for Effective ML on Private, Decentralized
Datasets*, ICLR 2020), and lets a modeler look at synthetic samples instead of at the data.

The folders are trust zones: only `clients` ever holds a raw example; `server` sees sums and releases noised
ones; `modeler` sees what was released; `privacy` is the arithmetic of the guarantee.
"""

__version__ = "0.1.0"
