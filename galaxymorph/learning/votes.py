"""A head that predicts the 37 vote fractions of the Galaxy Zoo 2 decision tree.

A softmax per question, times the probability of reaching it, makes the answers to a question sum to
the answer that leads to it, as for the winner of the Galaxy Zoo challenge (Dieleman, Willett &
Dambre 2015, arXiv 1503.07077). Likelihoods as losses use the number of volunteers, too (Walmsley et
al. 2022, arXiv 2102.08414)."""

from collections.abc import Mapping
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from galaxymorph import galaxy_zoo_tree
from galaxymorph.learning.architectures import Mean
from galaxymorph.learning.classifier import Headed, Outputs
from galaxymorph.learning.protocols import EncoderLike
from galaxymorph.pixels import Each, Images

Loss = Literal["mse", "kl", "multinomial", "dirichlet"]
Votes = Float[Tensor, "galaxy 37"]
PerQuestion = Float[Tensor, "galaxy 11"]
Targets = Float[Tensor, "galaxy 38"]
# median number per galaxy in Galaxy Zoo 2 (Willett et al. 2013, section 2.3)
VOLUNTEERS = 44.0
CONCENTRATION = 20.0  # of an untrained head, worth about 20 votes
SIZES = [len(question.answers) for question in galaxy_zoo_tree.QUESTIONS]


def targets(votes: Votes, volunteers: Each | None) -> Targets:
    """Join cumulative votes and number of volunteers (`VOLUNTEERS` if unknown) for training.

    Raises `ValueError` for a galaxy without votes."""
    known = votes.isfinite().all(1)
    if not known.all():
        advice = "use galaxies of data.load(target='votes') that are in a split"
        raise ValueError(f"galaxy in row {known.int().argmin()} has no votes: {advice}")
    number = torch.full((len(votes),), torch.nan) if volunteers is None else volunteers
    return torch.cat([votes, number.nan_to_num(VOLUNTEERS)[:, None]], 1).float()


def log_fractions(logits: Votes) -> Votes:
    """Compute log fractions of the volunteers asked each question, with a softmax per question."""
    return torch.cat([part.log_softmax(1) for part in logits.split(SIZES, 1)], 1)


def cumulative(logs: Votes) -> Votes:
    """Compute cumulative vote fractions from `log_fractions`."""
    columns: list[Tensor] = []
    parts = zip(logs.split(SIZES, 1), galaxy_zoo_tree.PARENTS.values(), strict=True)
    for part, parent in parts:  # parents come before their children
        columns += (part if parent is None else part + columns[parent][:, None]).unbind(1)
    return torch.stack(columns, 1).exp()


class VoteRegressor(Headed):
    """Predicts cumulative vote fractions; a learner for `train.fit` with the targets of `targets`.

    `hidden` is the size of a hidden layer (512 in the published project), with `dropout` before the
    last layer. With `tree`, answers obey the tree; otherwise they are 37 linear outputs, which may
    contradict each other. The `loss` is averaged over galaxies:

    * mse: mean squared error of the 37 cumulative fractions, the challenge's score; the only loss
      available without `tree`.
    * kl: Kullback-Leibler divergence of the predicted fractions from the volunteers', summed over
      the questions, each weighted by the fraction of volunteers who reached it; in nats.
    * multinomial: negative log-likelihood (nats) of the vote counts, with as many trials per
      question as volunteers were asked; without the constant term.
    * dirichlet: the same for a Dirichlet-multinomial distribution, with one more output per
      question, its concentration, to express uncertainty. (Walmsley et al. 2022 have one per
      answer, from 1 to 101, so their fractions cannot come near 0 or 1.)

    `outputs` names the columns of `predict`."""

    outputs: tuple[str, ...]

    def __init__(
        self,
        encoder: EncoderLike,
        *,
        tree: bool = True,
        loss: Loss = "dirichlet",
        hidden: int | None = None,
        dropout: float = 0.0,
    ):
        super().__init__()
        if loss not in get_args(Loss):
            raise ValueError(f"loss={loss!r}: expected one of {', '.join(get_args(Loss))}")
        if not tree and loss != "mse":
            why = "needs a distribution, but plain outputs are not one"
            raise ValueError(f"loss={loss!r} {why}; set tree=True or loss='mse'")
        self.encoder, self.tree, self.kind = encoder, tree, loss
        self.options = {"tree": tree, "loss": loss, "hidden": hidden, "dropout": dropout}
        self.outputs = galaxy_zoo_tree.COLUMNS
        if loss == "dirichlet":
            self.outputs += tuple(f"s_{question}" for question in galaxy_zoo_tree.SLICES)
        features = encoder.num_features
        layers: list[nn.Module] = [] if hidden is None else [nn.Linear(features, hidden), nn.ReLU()]
        last = nn.Linear(features if hidden is None else hidden, len(self.outputs))
        self.head = nn.Sequential(*layers, nn.Dropout(dropout), last)

    def start_from(self, state: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
        """Load a trained model's head (`model_files.load`); raise `ValueError` if it differs.

        It may have been trained with another loss: what only one of the two has is left as it is.
        """
        head = header.get("head", {})
        kind, theirs = ({k: of.get(k) for k in ("tree", "hidden")} for of in (self.options, head))
        if not head or kind != theirs:
            found = f"its head is {theirs}" if head else "it has no head for vote fractions"
            raise ValueError(f"cannot start from the model file: {found}, this one is {kind}")
        for name, weights in self.head.named_parameters():
            given = state[f"head.{name}"]
            rows = min(len(given), len(weights))  # concentrations come after the 37 answers
            weights.data[:rows] = given[:rows]

    def predict(self, images: Images) -> Outputs:
        """Compute 37 cumulative vote fractions and, for loss="dirichlet", 11 concentrations."""
        return self._predicted(self(images).float())

    def _predicted(self, raw: Outputs) -> Float[Tensor, "galaxy column"]:
        return torch.cat([self._fractions(raw), self._concentrations(raw)], 1)

    def answer(self, raw: Outputs, column: int) -> Each:
        """Return the log fraction of an answer among those asked; plain outputs are not changed."""
        return log_fractions(raw[:, :37])[:, column] if self.tree else raw[:, column]

    def measures(self, images: Images, targets: Targets) -> dict[str, Mean]:
        """Compute the loss of a batch, and the mean squared error of the cumulative fractions."""
        return self._measures(self(images).float(), targets)

    def _measures(self, raw: Outputs, targets: Targets) -> dict[str, Mean]:
        votes, volunteers = targets[:, :37], targets[:, 37:]
        mse = functional.mse_loss(self._fractions(raw), votes)
        if self.kind == "mse":
            return {"loss": mse, "mse": mse}
        logs = log_fractions(raw[:, :37])
        if self.kind == "kl":
            loss = _divergence(logs, votes)
        elif self.kind == "multinomial":
            loss = -(volunteers * votes * logs).sum(1)
        else:
            loss = _dirichlet_multinomial(logs, self._concentrations(raw), volunteers * votes)
        return {"loss": loss.mean(), "mse": mse}

    def _fractions(self, raw: Outputs) -> Votes:
        return cumulative(log_fractions(raw[:, :37])) if self.tree else raw[:, :37]

    def _concentrations(self, raw: Outputs) -> Float[Tensor, "galaxy concentration"]:
        return CONCENTRATION * raw[:, 37:48].clamp(-5, 5).exp()  # 0.13 to 3,000


def _sums(answers: Votes) -> PerQuestion:
    return torch.stack([part.sum(1) for part in answers.split(SIZES, 1)], 1)


def _per_answer(questions: PerQuestion) -> Votes:
    return questions.repeat_interleave(torch.tensor(SIZES, device=questions.device), 1)


def _divergence(logs: Votes, votes: Votes) -> Each:
    """Sum over questions of asked * sum(f (ln f - ln p)), where the votes are asked * f."""
    asked = _per_answer(_sums(votes))
    entropy = torch.special.xlogy(votes, votes) - torch.special.xlogy(votes, asked)
    return (entropy - votes * logs).sum(1)


def _dirichlet_multinomial(logs: Votes, concentrations: PerQuestion, counts: Votes) -> Each:
    """Negative log-likelihood of (weighted, debiased) votes, without multinomial coefficient."""
    alphas = _per_answer(concentrations) * logs.exp() + 1e-6  # lgamma has a pole at 0
    of_answers = torch.lgamma(counts + alphas) - torch.lgamma(alphas)
    asked, total = _sums(counts), _sums(alphas)
    of_questions = torch.lgamma(total) - torch.lgamma(asked + total)
    return -(of_answers.sum(1) + of_questions.sum(1))
