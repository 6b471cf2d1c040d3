"""User module that opens a W&B run itself."""

from user_module import UserModule


class OpensItsRun(UserModule):
    """Module that writes to W&B directly, in `folder`."""

    def __init__(self, folder: str, width: int = 6):
        super().__init__(width=width)
        self.folder = folder

    def on_fit_start(self):
        import wandb

        wandb.init(mode="offline", dir=self.folder, project="own", settings=wandb.Settings(console="off"))

    def on_validation_epoch_end(self):
        import wandb

        wandb.log({"val/loss": float(self.trainer.callback_metrics["val/loss"])})
