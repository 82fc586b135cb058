"""What a user of timm's distillation tasks writes now: a teacher, two layers of hints, its loop."""

import logging

import timm
import torch
from timm.optim import create_optimizer_v2

import tutelage as tl
from tutelage.adapters.timm import LogitDistillationTask


def main(updates: int = 20) -> dict[str, float]:
    logging.basicConfig(level=logging.WARNING)
    torch.manual_seed(0)
    student = timm.create_model("test_resnet", num_classes=10)
    # A name, "resnet50.a1_in1k", fetches published weights, and their classes are checked.
    teacher = timm.create_model("resnet10t", num_classes=10)
    images, labels = torch.randn(16, 3, 64, 64), torch.randint(10, (16,))
    config = timm.data.resolve_data_config({"input_size": (3, 64, 64)}, model=student)

    # Before: LogitDistillationTask(student, teacher, criterion, temperature=4.0). Now also:
    terms = [
        tl.Term(tl.KDLoss(temperature=4.0), 0.9),
        tl.Term(tl.HintLoss(), 1.0, at=("layer3", "layer3"), via="auto"),
    ]
    task = LogitDistillationTask(
        student,
        teacher,
        torch.nn.CrossEntropyLoss(label_smoothing=0.1),
        loss_type=terms,
        task_loss_weight=0.1,
        data_config=config,  # the loader's statistics, from which the teacher's are made
    )
    # Student and projector; timm's layer decay and groups without weight decay go on working.
    optimizer = create_optimizer_v2(task.get_trainable_module(), opt="adamw", lr=3e-3)
    task.setup_ema(decay=0.9)
    task.train()
    for update in range(updates):
        optimizer.zero_grad()
        result = task(images, labels)
        result["loss"].backward()
        optimizer.step()
        task.update_ema(step=update)
        if update % 5 == 0 or update == updates - 1:
            shown = {k: v.item() for k, v in result.items() if v.ndim == 0}
            print(f"update {update:2d}  " + "  ".join(f"{k} {v:.3f}" for k, v in shown.items()))
    saved = task.get_checkpoint_state()
    timm.create_model("test_resnet", num_classes=10).load_state_dict(saved["state_dict"])
    return shown


if __name__ == "__main__":
    main()
