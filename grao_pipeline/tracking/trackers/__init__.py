"""Trackers, one file each; the registry names them."""

TRACKERS = {
    "tensorboard": "grao_pipeline.tracking.trackers.tensorboard:TensorBoardTracker",
    "trackio": "grao_pipeline.tracking.trackers.trackio:TrackioTracker",
    "mlflow": "grao_pipeline.tracking.trackers.mlflow:MlflowTracker",
    "wandb": "grao_pipeline.tracking.trackers.wandb:WandbTracker",
}
