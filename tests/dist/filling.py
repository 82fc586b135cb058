"""Fill one cache from shuffled batches, in one process or under torchrun.

``python filling.py OUT`` writes the cache to ``OUT/kept`` and a report of each process.
"""

import json
import sys
import warnings
from pathlib import Path

import torch
from labelling import Net, images
from torch import nn

import tutelage as tl
from tutelage.teachers import tell_view
from tutelage.training import open_ranks

VIEWS = 3


def main(out: Path) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", UserWarning)  # five of twenty classes hold too little
    data = images()
    with open_ranks("cpu") as ranks:
        teacher = tl.WritingTeacher(
            tl.FrozenTeacher(Net(0)),
            out / "kept",
            ids=data.ids,
            identity={"teacher": "of the test"},
            views=VIEWS,
            top_k=5,
            num_classes=20,
            temperatures=(4.0,),
        )
        student = nn.Sequential(nn.Flatten(), nn.Linear(64, 20))
        distiller = tl.Distiller(student, teacher, [tl.KDLoss()], example=data[0][0][None])
        asked = []
        for epoch in range(VIEWS + 1):  # the last one meets nothing new
            data.set_view(epoch % VIEWS)
            order = torch.randperm(len(data), generator=torch.Generator().manual_seed(epoch))
            for batch in order.split(100):
                mine = batch[ranks.rank :: ranks.world_size]
                shown = data.__getitems__(mine.tolist())
                tell_view(teacher, shown.view, shown.ids)
                loss = distiller(shown.inputs, ids=shown.ids).loss
                ranks.sum(loss.detach())  # as gradients are: the processes go in step
            asked.append(teacher.misses)
        distiller.close()
        report = {"asked": asked, "loss": float(loss)}
        (out / f"rank{ranks.rank}.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
