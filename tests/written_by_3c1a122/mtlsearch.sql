BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('v3.2.0.a');
CREATE TABLE studies (
	study_id INTEGER NOT NULL, 
	study_name VARCHAR(512) NOT NULL, 
	PRIMARY KEY (study_id)
);
INSERT INTO "studies" VALUES(1,'digits');
INSERT INTO "studies" VALUES(2,'digits/confirmation');
CREATE TABLE study_directions (
	study_direction_id INTEGER NOT NULL, 
	direction VARCHAR(8) NOT NULL, 
	study_id INTEGER NOT NULL, 
	objective INTEGER NOT NULL, 
	PRIMARY KEY (study_direction_id), 
	UNIQUE (study_id, objective), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "study_directions" VALUES(1,'MAXIMIZE',1,0);
INSERT INTO "study_directions" VALUES(2,'MAXIMIZE',2,0);
CREATE TABLE study_system_attributes (
	study_system_attribute_id INTEGER NOT NULL, 
	study_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (study_system_attribute_id), 
	UNIQUE (study_id, "key"), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "study_system_attributes" VALUES(1,1,'study:metric_names','["mean"]');
INSERT INTO "study_system_attributes" VALUES(2,2,'study:metric_names','["mean"]');
INSERT INTO "study_system_attributes" VALUES(3,1,'dashboard:note_ver','1');
INSERT INTO "study_system_attributes" VALUES(4,1,'dashboard:note_str:0','"**undecided: 2 seeds can only see differences above 5 points; tuned minus equal is -6 to 3 points; 3 seeds would see 2 points**\n\n- weights: left 0.11, right 0.89\n- left: accuracy 93 % \\(89 to 97\\); equal weights 97 % \\(95 to 98\\); alone 97.3 % \\(97.0 to 97.6\\)\n- right: accuracy 95 % \\(91 to 99\\); equal weights 95 % \\(85 to 105\\); alone 96 % \\(89 to 102\\)\n- \u0394m -3 % \\(-6 to 1\\), against single-task training, formed per seed\n- 95 % t intervals over 2 fresh seeds cover the randomness of training on this split, not what new data would change; the size of the test set adds a standard error of 0.8 points of left \\(1,000 examples\\), 0.7 points of right \\(1,000 examples\\)\n\n| task | weight | validation | test |\n|---|---:|---:|---:|\n| left | 0.1083 | accuracy 92.4 % | accuracy 93.0 % |\n| right | 0.8917 | accuracy 93.6 % | accuracy 95.1 % |\n\n`mtlsearch report` writes the whole report, `mtlsearch best` and `export` give this answer."');
INSERT INTO "study_system_attributes" VALUES(14,2,'dashboard:note_ver','1');
INSERT INTO "study_system_attributes" VALUES(15,2,'dashboard:note_str:0','"**undecided: 2 seeds can only see differences above 5 points; tuned minus equal is -6 to 3 points; 3 seeds would see 2 points**\n\nThese are trainings of the study digits again with fresh seeds: its best configs, their twins of equal weights, single tasks (the attribute `kind`).\n\n**Do not rank them by score.** A single-task training is scored on its own task alone, so its score compares with no other; and the best of several seeds is luck. The study digits has the verdict."');
CREATE TABLE study_user_attributes (
	study_user_attribute_id INTEGER NOT NULL, 
	study_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (study_user_attribute_id), 
	UNIQUE (study_id, "key"), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "study_user_attributes" VALUES(1,1,'mtlsearch','{"format": "mtlsearch/study/1", "source": "digits", "source_sha256": "3ec9c9533555182fc811035d163815ba473fac614ea47a9f38af0020a5eff62f", "score": "mean", "default": {"hidden": 64, "dropout": 0.2, "optimizer": "adam", "learning_rate": 0.001, "norm": "none"}, "budget": {"epochs": 2, "patience": null, "batch_size": 64, "split_seed": 0}, "tasks": {"left": {"kind": "classification", "metric": "accuracy", "higher_is_better": true, "classes": ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"], "mean": [0.0], "std": [1.0], "input_shape": [12, 12], "input_dtype": "uint8", "output_shape": [10]}, "right": {"kind": "classification", "metric": "accuracy", "higher_is_better": true, "classes": ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"], "mean": [0.0], "std": [1.0], "input_shape": [12, 12], "input_dtype": "uint8", "output_shape": [10]}}, "fingerprint": {"tasks": {"left": {"kind": "classification", "metric": "accuracy", "metric_name": "accuracy", "label_smoothing": 0.0}, "right": {"kind": "classification", "metric": "accuracy", "metric_name": "accuracy", "label_smoothing": 0.0}}, "data": {"left": "290761304687228e1f51499a306c13d303e2321e667ef2ad15580375e42df475", "right": "0383082d647617fa4adf51e238016b5b9cbdec62ff27afe0873431461ed92513"}, "split": {"split_seed": 0, "sizes": [[4000, 1000, 1000]]}, "space": {"hidden": {"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 16, "high": 128}}, "dropout": {"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 0.5, "log": false}}, "optimizer": {"name": "CategoricalDistribution", "attributes": {"choices": ["adam", "rmsprop", "sgd"]}}, "learning_rate": {"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0001, "high": 0.1, "log": true}}, "norm": {"name": "CategoricalDistribution", "attributes": {"choices": ["none", "batch", "layer"]}}, "weight:left": {"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 1.0, "log": false}}}, "epochs": 2, "patience": null, "batch size": 64, "score": "mean", "model": {"trunk.0.linear.weight": [64, 144], "trunk.0.linear.bias": [64], "heads.left.weight": [10, 64], "heads.left.bias": [10], "heads.right.weight": [10, 64], "heads.right.bias": [10]}}, "population": 16, "seed": 7}');
INSERT INTO "study_user_attributes" VALUES(2,2,'role','"confirmation"');
INSERT INTO "study_user_attributes" VALUES(3,2,'fingerprint','{"tasks": {"left": {"kind": "classification", "metric": "accuracy", "metric_name": "accuracy", "label_smoothing": 0.0}, "right": {"kind": "classification", "metric": "accuracy", "metric_name": "accuracy", "label_smoothing": 0.0}}, "data": {"left": "290761304687228e1f51499a306c13d303e2321e667ef2ad15580375e42df475", "right": "0383082d647617fa4adf51e238016b5b9cbdec62ff27afe0873431461ed92513"}, "split": {"split_seed": 0, "sizes": [[4000, 1000, 1000]]}, "space": {"hidden": {"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 16, "high": 128}}, "dropout": {"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 0.5, "log": false}}, "optimizer": {"name": "CategoricalDistribution", "attributes": {"choices": ["adam", "rmsprop", "sgd"]}}, "learning_rate": {"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0001, "high": 0.1, "log": true}}, "norm": {"name": "CategoricalDistribution", "attributes": {"choices": ["none", "batch", "layer"]}}, "weight:left": {"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 1.0, "log": false}}}, "epochs": 2, "patience": null, "batch size": 64, "score": "mean", "model": {"trunk.0.linear.weight": [64, 144], "trunk.0.linear.bias": [64], "heads.left.weight": [10, 64], "heads.left.bias": [10], "heads.right.weight": [10, 64], "heads.right.bias": [10]}}');
INSERT INTO "study_user_attributes" VALUES(4,2,'of','"digits"');
INSERT INTO "study_user_attributes" VALUES(5,1,'confirmation','"digits/confirmation"');
INSERT INTO "study_user_attributes" VALUES(6,2,'conclusion','{"of": 3, "weights": "tuned", "kept": 2, "configs": [3], "seeds": [447464847, 1535134522], "searched": 6, "test_scorings": 8, "verdict": {"kind": "undecided", "sentence": "undecided: 2 seeds can only see differences above 5 points; tuned minus equal is -6 to 3 points; 3 seeds would see 2 points", "harm_sentences": [], "winner": 0, "weights": {"left": 0.10830636416487316, "right": 0.8916936358351268}, "metrics": {"left": {"mean": 0.933, "low": 0.8948813857914759, "high": 0.9711186142085242, "sd": 0.004242640687119289, "n": 2}, "right": {"mean": 0.948, "low": 0.9098813857914758, "high": 0.9861186142085241, "sd": 0.004242640687119289, "n": 2}}, "equal_metrics": {"left": {"mean": 0.9655, "low": 0.946440692895738, "high": 0.9845593071042621, "sd": 0.0021213203435596446, "n": 2}, "right": {"mean": 0.947, "low": 0.8453503621106023, "high": 1.0486496378893977, "sd": 0.01131370849898477, "n": 2}}, "single_metrics": {"left": {"mean": 0.973, "low": 0.9704063568190864, "high": 0.9755936431809136, "sd": 0.0002886751345948129, "n": 2}, "right": {"mean": 0.957, "low": 0.8934689763191265, "high": 1.0205310236808736, "sd": 0.007071067811865481, "n": 2}}, "score": {"mean": 0.9405, "low": 0.9405, "high": 0.9405, "sd": 0.0, "n": 2}, "equal_score": {"mean": 0.95625, "low": 0.9149548346074319, "high": 0.9975451653925682, "sd": 0.0045961940777126025, "n": 2}, "difference": {"mean": -0.015749999999999986, "low": -0.05704516539256813, "high": 0.02554516539256816, "sd": 0.0045961940777126025, "n": 2}, "claims": [{"difference": {"mean": -0.015749999999999986, "low": -0.05704516539256813, "high": 0.02554516539256816, "sd": 0.0045961940777126025, "n": 2}, "p": 0.12954769615025682, "p_holm": 0.12954769615025682}], "harm": {"left": {"difference": {"mean": 0.039999999999999925, "low": 0.0018813857914758078, "high": 0.07811861420852403, "sd": 0.004242640687119289, "n": 2}, "p": 0.047657259209100335, "p_holm": 0.09531451841820067}, "right": {"difference": {"mean": 0.009000000000000008, "low": -0.016412409472349402, "high": 0.034412409472349414, "sd": 0.0028284271247461927, "n": 2}, "p": 0.1392089745461279, "p_holm": 0.1392089745461279}}, "delta_m": {"mean": -2.525184773650704, "low": -5.780535275770837, "high": 0.7301657284694292, "sd": 0.3623238351629423, "n": 2}, "equal_delta_m": {"mean": -0.9087051974800606, "low": -1.9556034649301888, "high": 0.13819306997006753, "sd": 0.11652084623174384, "n": 2}, "delta_m_note": "against single-task training, formed per seed", "margin": 0.002, "level": 0.95, "seeds": 2, "detectable": 0.053085548242320715, "seeds_needed": 3, "sampling_error": {"left": 0.007906389820898028, "right": 0.007021111023192843}, "covers": "95 % t intervals over 2 fresh seeds cover the randomness of training on this split, not what new data would change; the size of the test set adds a standard error of 0.8 points of left (1,000 examples), 0.7 points of right (1,000 examples)", "measured": {"left": {"name": "accuracy", "higher_is_better": true, "test_examples": 1000}, "right": {"name": "accuracy", "higher_is_better": true, "test_examples": 1000}}, "lines": ["undecided: 2 seeds can only see differences above 5 points; tuned minus equal is -6 to 3 points; 3 seeds would see 2 points", "weights: left 0.11, right 0.89", "left: accuracy 93 % (89 to 97); equal weights 97 % (95 to 98); alone 97.3 % (97.0 to 97.6)", "right: accuracy 95 % (91 to 99); equal weights 95 % (85 to 105); alone 96 % (89 to 102)", "\u0394m -3 % (-6 to 1), against single-task training, formed per seed", "95 % t intervals over 2 fresh seeds cover the randomness of training on this split, not what new data would change; the size of the test set adds a standard error of 0.8 points of left (1,000 examples), 0.7 points of right (1,000 examples)"]}}');
INSERT INTO "study_user_attributes" VALUES(7,1,'verdict','"undecided: 2 seeds can only see differences above 5 points; tuned minus equal is -6 to 3 points; 3 seeds would see 2 points"');
INSERT INTO "study_user_attributes" VALUES(8,2,'scores','"not to be ranked: a single-task training is scored on its own task alone; see the note"');
CREATE TABLE trial_heartbeats (
	trial_heartbeat_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	heartbeat DATETIME NOT NULL, 
	PRIMARY KEY (trial_heartbeat_id), 
	UNIQUE (trial_id), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
CREATE TABLE trial_intermediate_values (
	trial_intermediate_value_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	step INTEGER NOT NULL, 
	intermediate_value FLOAT, 
	intermediate_value_type VARCHAR(7) NOT NULL, 
	PRIMARY KEY (trial_intermediate_value_id), 
	UNIQUE (trial_id, step), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_intermediate_values" VALUES(1,1,0,5.80000000000000071054e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(2,2,0,0.8325,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(3,3,0,0.857,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(4,4,0,0.899,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(5,5,0,0.1645,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(6,6,0,0.1015,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(7,1,1,0.7965,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(8,2,1,0.884,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(9,3,1,0.905,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(10,4,1,0.935,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(11,5,1,0.2345,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(12,6,1,0.1135,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(13,7,0,8.90500000000000069277e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(14,8,0,0.932,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(15,9,0,0.895,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(16,10,0,0.9255,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(17,7,1,9.20500000000000095923e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(18,8,1,9.35999999999999943156e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(19,9,1,0.93,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(20,10,1,0.9295,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(21,11,0,0.947,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(22,12,0,0.952,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(23,11,1,0.948,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(24,12,1,0.957,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(25,13,0,0.931,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(26,14,0,0.926,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(27,13,1,0.944,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(28,14,1,0.945,'FINITE');
CREATE TABLE trial_params (
	param_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	param_name VARCHAR(512), 
	param_value FLOAT, 
	distribution_json TEXT, 
	PRIMARY KEY (param_id), 
	UNIQUE (trial_id, param_name), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_params" VALUES(1,1,'hidden',64.0,'{"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 16, "high": 128}}');
INSERT INTO "trial_params" VALUES(2,1,'dropout',0.2,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 0.5, "log": false}}');
INSERT INTO "trial_params" VALUES(3,1,'optimizer',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["adam", "rmsprop", "sgd"]}}');
INSERT INTO "trial_params" VALUES(4,1,'learning_rate',0.001,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0001, "high": 0.1, "log": true}}');
INSERT INTO "trial_params" VALUES(5,1,'norm',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["none", "batch", "layer"]}}');
INSERT INTO "trial_params" VALUES(6,1,'weight:left',0.5,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 1.0, "log": false}}');
INSERT INTO "trial_params" VALUES(7,2,'hidden',78.0,'{"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 16, "high": 128}}');
INSERT INTO "trial_params" VALUES(8,2,'dropout',1.23503066590031518323e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 0.5, "log": false}}');
INSERT INTO "trial_params" VALUES(9,2,'optimizer',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["adam", "rmsprop", "sgd"]}}');
INSERT INTO "trial_params" VALUES(10,2,'learning_rate',2.88056701905909599142e-03,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0001, "high": 0.1, "log": true}}');
INSERT INTO "trial_params" VALUES(11,2,'norm',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["none", "batch", "layer"]}}');
INSERT INTO "trial_params" VALUES(12,2,'weight:left',6.98716322275047319045e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 1.0, "log": false}}');
INSERT INTO "trial_params" VALUES(13,3,'hidden',78.0,'{"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 16, "high": 128}}');
INSERT INTO "trial_params" VALUES(14,3,'dropout',4.39342351019304133696e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 0.5, "log": false}}');
INSERT INTO "trial_params" VALUES(15,3,'optimizer',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["adam", "rmsprop", "sgd"]}}');
INSERT INTO "trial_params" VALUES(16,3,'learning_rate',1.59045241013551739983e-02,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0001, "high": 0.1, "log": true}}');
INSERT INTO "trial_params" VALUES(17,3,'norm',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["none", "batch", "layer"]}}');
INSERT INTO "trial_params" VALUES(18,3,'weight:left',1.10602705556230862526e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 1.0, "log": false}}');
INSERT INTO "trial_params" VALUES(19,4,'hidden',119.0,'{"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 16, "high": 128}}');
INSERT INTO "trial_params" VALUES(20,4,'dropout',2.19236245060469125967e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 0.5, "log": false}}');
INSERT INTO "trial_params" VALUES(21,4,'optimizer',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["adam", "rmsprop", "sgd"]}}');
INSERT INTO "trial_params" VALUES(22,4,'learning_rate',3.96717103700432258822e-03,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0001, "high": 0.1, "log": true}}');
INSERT INTO "trial_params" VALUES(23,4,'norm',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["none", "batch", "layer"]}}');
INSERT INTO "trial_params" VALUES(24,4,'weight:left',1.08306364164873158983e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 1.0, "log": false}}');
INSERT INTO "trial_params" VALUES(25,5,'hidden',38.0,'{"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 16, "high": 128}}');
INSERT INTO "trial_params" VALUES(26,5,'dropout',3.88602773472998208603e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 0.5, "log": false}}');
INSERT INTO "trial_params" VALUES(27,5,'optimizer',2.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["adam", "rmsprop", "sgd"]}}');
INSERT INTO "trial_params" VALUES(28,5,'learning_rate',4.46589308453707620021e-04,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0001, "high": 0.1, "log": true}}');
INSERT INTO "trial_params" VALUES(29,5,'norm',2.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["none", "batch", "layer"]}}');
INSERT INTO "trial_params" VALUES(30,5,'weight:left',0.924297867475531,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 1.0, "log": false}}');
INSERT INTO "trial_params" VALUES(31,6,'hidden',22.0,'{"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 16, "high": 128}}');
INSERT INTO "trial_params" VALUES(32,6,'dropout',3.11832821418892069953e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 0.5, "log": false}}');
INSERT INTO "trial_params" VALUES(33,6,'optimizer',2.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["adam", "rmsprop", "sgd"]}}');
INSERT INTO "trial_params" VALUES(34,6,'learning_rate',0.000548208072904272,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0001, "high": 0.1, "log": true}}');
INSERT INTO "trial_params" VALUES(35,6,'norm',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["none", "batch", "layer"]}}');
INSERT INTO "trial_params" VALUES(36,6,'weight:left',5.98837182276893864596e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 1.0, "log": false}}');
INSERT INTO "trial_params" VALUES(37,7,'hidden',119.0,'{"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 16, "high": 128}}');
INSERT INTO "trial_params" VALUES(38,7,'dropout',2.19236245060469125967e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 0.5, "log": false}}');
INSERT INTO "trial_params" VALUES(39,7,'optimizer',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["adam", "rmsprop", "sgd"]}}');
INSERT INTO "trial_params" VALUES(40,7,'learning_rate',3.96717103700432258822e-03,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0001, "high": 0.1, "log": true}}');
INSERT INTO "trial_params" VALUES(41,7,'norm',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["none", "batch", "layer"]}}');
INSERT INTO "trial_params" VALUES(42,7,'weight:left',1.08306364164873158983e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 1.0, "log": false}}');
INSERT INTO "trial_params" VALUES(43,8,'hidden',119.0,'{"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 16, "high": 128}}');
INSERT INTO "trial_params" VALUES(44,8,'dropout',2.19236245060469125967e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 0.5, "log": false}}');
INSERT INTO "trial_params" VALUES(45,8,'optimizer',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["adam", "rmsprop", "sgd"]}}');
INSERT INTO "trial_params" VALUES(46,8,'learning_rate',3.96717103700432258822e-03,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0001, "high": 0.1, "log": true}}');
INSERT INTO "trial_params" VALUES(47,8,'norm',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["none", "batch", "layer"]}}');
INSERT INTO "trial_params" VALUES(48,8,'weight:left',0.5,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 1.0, "log": false}}');
INSERT INTO "trial_params" VALUES(49,9,'hidden',119.0,'{"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 16, "high": 128}}');
INSERT INTO "trial_params" VALUES(50,9,'dropout',2.19236245060469125967e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 0.5, "log": false}}');
INSERT INTO "trial_params" VALUES(51,9,'optimizer',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["adam", "rmsprop", "sgd"]}}');
INSERT INTO "trial_params" VALUES(52,9,'learning_rate',3.96717103700432258822e-03,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0001, "high": 0.1, "log": true}}');
INSERT INTO "trial_params" VALUES(53,9,'norm',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["none", "batch", "layer"]}}');
INSERT INTO "trial_params" VALUES(54,9,'weight:left',1.08306364164873158983e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 1.0, "log": false}}');
INSERT INTO "trial_params" VALUES(55,10,'hidden',119.0,'{"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 16, "high": 128}}');
INSERT INTO "trial_params" VALUES(56,10,'dropout',2.19236245060469125967e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 0.5, "log": false}}');
INSERT INTO "trial_params" VALUES(57,10,'optimizer',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["adam", "rmsprop", "sgd"]}}');
INSERT INTO "trial_params" VALUES(58,10,'learning_rate',3.96717103700432258822e-03,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0001, "high": 0.1, "log": true}}');
INSERT INTO "trial_params" VALUES(59,10,'norm',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["none", "batch", "layer"]}}');
INSERT INTO "trial_params" VALUES(60,10,'weight:left',0.5,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 1.0, "log": false}}');
INSERT INTO "trial_params" VALUES(61,11,'hidden',119.0,'{"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 16, "high": 128}}');
INSERT INTO "trial_params" VALUES(62,11,'dropout',2.19236245060469125967e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 0.5, "log": false}}');
INSERT INTO "trial_params" VALUES(63,11,'optimizer',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["adam", "rmsprop", "sgd"]}}');
INSERT INTO "trial_params" VALUES(64,11,'learning_rate',3.96717103700432258822e-03,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0001, "high": 0.1, "log": true}}');
INSERT INTO "trial_params" VALUES(65,11,'norm',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["none", "batch", "layer"]}}');
INSERT INTO "trial_params" VALUES(66,12,'hidden',119.0,'{"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 16, "high": 128}}');
INSERT INTO "trial_params" VALUES(67,12,'dropout',2.19236245060469125967e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 0.5, "log": false}}');
INSERT INTO "trial_params" VALUES(68,12,'optimizer',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["adam", "rmsprop", "sgd"]}}');
INSERT INTO "trial_params" VALUES(69,12,'learning_rate',3.96717103700432258822e-03,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0001, "high": 0.1, "log": true}}');
INSERT INTO "trial_params" VALUES(70,12,'norm',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["none", "batch", "layer"]}}');
INSERT INTO "trial_params" VALUES(71,13,'hidden',119.0,'{"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 16, "high": 128}}');
INSERT INTO "trial_params" VALUES(72,13,'dropout',2.19236245060469125967e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 0.5, "log": false}}');
INSERT INTO "trial_params" VALUES(73,13,'optimizer',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["adam", "rmsprop", "sgd"]}}');
INSERT INTO "trial_params" VALUES(74,13,'learning_rate',3.96717103700432258822e-03,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0001, "high": 0.1, "log": true}}');
INSERT INTO "trial_params" VALUES(75,13,'norm',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["none", "batch", "layer"]}}');
INSERT INTO "trial_params" VALUES(76,14,'hidden',119.0,'{"name": "IntDistribution", "attributes": {"log": true, "step": 1, "low": 16, "high": 128}}');
INSERT INTO "trial_params" VALUES(77,14,'dropout',2.19236245060469125967e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 0.5, "log": false}}');
INSERT INTO "trial_params" VALUES(78,14,'optimizer',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["adam", "rmsprop", "sgd"]}}');
INSERT INTO "trial_params" VALUES(79,14,'learning_rate',3.96717103700432258822e-03,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0001, "high": 0.1, "log": true}}');
INSERT INTO "trial_params" VALUES(80,14,'norm',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["none", "batch", "layer"]}}');
CREATE TABLE trial_system_attributes (
	trial_system_attribute_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (trial_system_attribute_id), 
	UNIQUE (trial_id, "key"), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_system_attributes" VALUES(1,1,'fixed_params','{"hidden": 64, "dropout": 0.2, "optimizer": "adam", "learning_rate": 0.001, "norm": "none", "weight:left": 0.5}');
INSERT INTO "trial_system_attributes" VALUES(2,1,'artifacts:7c33a698-2858-42c3-9fbb-c9bfe32bbab0','"{\"artifact_id\": \"7c33a698-2858-42c3-9fbb-c9bfe32bbab0\", \"filename\": \"digits-trial-0.safetensors\", \"mimetype\": \"application/octet-stream\", \"encoding\": null}"');
INSERT INTO "trial_system_attributes" VALUES(3,2,'artifacts:493861a9-72b6-4608-8478-b85e128bd32d','"{\"artifact_id\": \"493861a9-72b6-4608-8478-b85e128bd32d\", \"filename\": \"digits-trial-1.safetensors\", \"mimetype\": \"application/octet-stream\", \"encoding\": null}"');
INSERT INTO "trial_system_attributes" VALUES(4,3,'artifacts:04d064d2-f9e7-432b-abc9-f41da56cca37','"{\"artifact_id\": \"04d064d2-f9e7-432b-abc9-f41da56cca37\", \"filename\": \"digits-trial-2.safetensors\", \"mimetype\": \"application/octet-stream\", \"encoding\": null}"');
INSERT INTO "trial_system_attributes" VALUES(5,4,'artifacts:a9203724-49b0-4643-99b7-3ca8d5e19597','"{\"artifact_id\": \"a9203724-49b0-4643-99b7-3ca8d5e19597\", \"filename\": \"digits-trial-3.safetensors\", \"mimetype\": \"application/octet-stream\", \"encoding\": null}"');
INSERT INTO "trial_system_attributes" VALUES(6,7,'artifacts:fe4bae56-b316-491b-9121-8a4b0fd23d1c','"{\"artifact_id\": \"fe4bae56-b316-491b-9121-8a4b0fd23d1c\", \"filename\": \"digits-confirmation-trial-0.safetensors\", \"mimetype\": \"application/octet-stream\", \"encoding\": null}"');
INSERT INTO "trial_system_attributes" VALUES(7,8,'artifacts:b95570df-86b2-4521-a2db-a40c54e8098e','"{\"artifact_id\": \"b95570df-86b2-4521-a2db-a40c54e8098e\", \"filename\": \"digits-confirmation-trial-1.safetensors\", \"mimetype\": \"application/octet-stream\", \"encoding\": null}"');
INSERT INTO "trial_system_attributes" VALUES(8,9,'artifacts:913310b6-7796-43b9-8f78-85824e52621d','"{\"artifact_id\": \"913310b6-7796-43b9-8f78-85824e52621d\", \"filename\": \"digits-confirmation-trial-2.safetensors\", \"mimetype\": \"application/octet-stream\", \"encoding\": null}"');
CREATE TABLE trial_user_attributes (
	trial_user_attribute_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (trial_user_attribute_id), 
	UNIQUE (trial_id, "key"), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_user_attributes" VALUES(1,1,'owner','{"host": "vm", "boot_id": "396ae539-a1d2-4d01-915c-f52817bbc3d9", "pid": 4257, "started": 68305, "namespace": "pid:[4026531836]"}');
INSERT INTO "trial_user_attributes" VALUES(2,1,'task_weights','{"left": 0.5, "right": 0.5}');
INSERT INTO "trial_user_attributes" VALUES(3,2,'owner','{"host": "vm", "boot_id": "396ae539-a1d2-4d01-915c-f52817bbc3d9", "pid": 4257, "started": 68305, "namespace": "pid:[4026531836]"}');
INSERT INTO "trial_user_attributes" VALUES(4,3,'owner','{"host": "vm", "boot_id": "396ae539-a1d2-4d01-915c-f52817bbc3d9", "pid": 4257, "started": 68305, "namespace": "pid:[4026531836]"}');
INSERT INTO "trial_user_attributes" VALUES(5,4,'owner','{"host": "vm", "boot_id": "396ae539-a1d2-4d01-915c-f52817bbc3d9", "pid": 4257, "started": 68305, "namespace": "pid:[4026531836]"}');
INSERT INTO "trial_user_attributes" VALUES(6,5,'owner','{"host": "vm", "boot_id": "396ae539-a1d2-4d01-915c-f52817bbc3d9", "pid": 4257, "started": 68305, "namespace": "pid:[4026531836]"}');
INSERT INTO "trial_user_attributes" VALUES(7,6,'owner','{"host": "vm", "boot_id": "396ae539-a1d2-4d01-915c-f52817bbc3d9", "pid": 4257, "started": 68305, "namespace": "pid:[4026531836]"}');
INSERT INTO "trial_user_attributes" VALUES(8,2,'task_weights','{"left": 0.6987163222750473, "right": 0.3012836777249527}');
INSERT INTO "trial_user_attributes" VALUES(9,3,'task_weights','{"left": 0.11060270555623086, "right": 0.8893972944437691}');
INSERT INTO "trial_user_attributes" VALUES(10,4,'task_weights','{"left": 0.10830636416487316, "right": 0.8916936358351268}');
INSERT INTO "trial_user_attributes" VALUES(11,5,'task_weights','{"left": 0.924297867475531, "right": 0.075702132524469}');
INSERT INTO "trial_user_attributes" VALUES(12,6,'task_weights','{"left": 0.5988371822768939, "right": 0.40116281772310614}');
INSERT INTO "trial_user_attributes" VALUES(13,1,'left accuracy','0.825');
INSERT INTO "trial_user_attributes" VALUES(14,1,'right accuracy','0.768');
INSERT INTO "trial_user_attributes" VALUES(15,1,'best_epoch','1');
INSERT INTO "trial_user_attributes" VALUES(16,1,'validation','{"left": {"accuracy": 0.825}, "right": {"accuracy": 0.768}}');
INSERT INTO "trial_user_attributes" VALUES(17,1,'epochs','2');
INSERT INTO "trial_user_attributes" VALUES(18,1,'entry_epoch','0');
INSERT INTO "trial_user_attributes" VALUES(19,1,'trained_on','{"device": "cpu", "threads": 1, "precision": "fp32", "trainer": "population", "lane_width": 128, "lane_slots": 16, "steps": "fused"}');
INSERT INTO "trial_user_attributes" VALUES(20,1,'seconds','5.615');
INSERT INTO "trial_user_attributes" VALUES(21,2,'left accuracy','0.909');
INSERT INTO "trial_user_attributes" VALUES(22,2,'right accuracy','0.859');
INSERT INTO "trial_user_attributes" VALUES(23,2,'best_epoch','1');
INSERT INTO "trial_user_attributes" VALUES(24,2,'validation','{"left": {"accuracy": 0.909}, "right": {"accuracy": 0.859}}');
INSERT INTO "trial_user_attributes" VALUES(25,2,'epochs','2');
INSERT INTO "trial_user_attributes" VALUES(26,2,'entry_epoch','0');
INSERT INTO "trial_user_attributes" VALUES(27,2,'trained_on','{"device": "cpu", "threads": 1, "precision": "fp32", "trainer": "population", "lane_width": 128, "lane_slots": 16, "steps": "fused"}');
INSERT INTO "trial_user_attributes" VALUES(28,2,'seconds','3.068');
INSERT INTO "trial_user_attributes" VALUES(29,3,'left accuracy','0.867');
INSERT INTO "trial_user_attributes" VALUES(30,3,'right accuracy','0.943');
INSERT INTO "trial_user_attributes" VALUES(31,3,'best_epoch','1');
INSERT INTO "trial_user_attributes" VALUES(32,3,'validation','{"left": {"accuracy": 0.867}, "right": {"accuracy": 0.943}}');
INSERT INTO "trial_user_attributes" VALUES(33,3,'epochs','2');
INSERT INTO "trial_user_attributes" VALUES(34,3,'entry_epoch','0');
INSERT INTO "trial_user_attributes" VALUES(35,3,'trained_on','{"device": "cpu", "threads": 1, "precision": "fp32", "trainer": "population", "lane_width": 128, "lane_slots": 16, "steps": "fused"}');
INSERT INTO "trial_user_attributes" VALUES(36,3,'seconds','3.068');
INSERT INTO "trial_user_attributes" VALUES(37,4,'left accuracy','0.919');
INSERT INTO "trial_user_attributes" VALUES(38,4,'right accuracy','0.951');
INSERT INTO "trial_user_attributes" VALUES(39,4,'best_epoch','1');
INSERT INTO "trial_user_attributes" VALUES(40,4,'validation','{"left": {"accuracy": 0.919}, "right": {"accuracy": 0.951}}');
INSERT INTO "trial_user_attributes" VALUES(41,4,'epochs','2');
INSERT INTO "trial_user_attributes" VALUES(42,4,'entry_epoch','0');
INSERT INTO "trial_user_attributes" VALUES(43,4,'trained_on','{"device": "cpu", "threads": 1, "precision": "fp32", "trainer": "population", "lane_width": 128, "lane_slots": 16, "steps": "fused"}');
INSERT INTO "trial_user_attributes" VALUES(44,4,'seconds','3.07');
INSERT INTO "trial_user_attributes" VALUES(45,5,'left accuracy','0.299');
INSERT INTO "trial_user_attributes" VALUES(46,5,'right accuracy','0.17');
INSERT INTO "trial_user_attributes" VALUES(47,5,'best_epoch','1');
INSERT INTO "trial_user_attributes" VALUES(48,5,'validation','{"left": {"accuracy": 0.299}, "right": {"accuracy": 0.17}}');
INSERT INTO "trial_user_attributes" VALUES(49,5,'epochs','2');
INSERT INTO "trial_user_attributes" VALUES(50,5,'entry_epoch','0');
INSERT INTO "trial_user_attributes" VALUES(51,5,'trained_on','{"device": "cpu", "threads": 1, "precision": "fp32", "trainer": "population", "lane_width": 128, "lane_slots": 16, "steps": "fused"}');
INSERT INTO "trial_user_attributes" VALUES(52,5,'seconds','3.072');
INSERT INTO "trial_user_attributes" VALUES(53,6,'left accuracy','0.13');
INSERT INTO "trial_user_attributes" VALUES(54,6,'right accuracy','0.097');
INSERT INTO "trial_user_attributes" VALUES(55,6,'best_epoch','1');
INSERT INTO "trial_user_attributes" VALUES(56,6,'validation','{"left": {"accuracy": 0.13}, "right": {"accuracy": 0.097}}');
INSERT INTO "trial_user_attributes" VALUES(57,6,'epochs','2');
INSERT INTO "trial_user_attributes" VALUES(58,6,'entry_epoch','0');
INSERT INTO "trial_user_attributes" VALUES(59,6,'trained_on','{"device": "cpu", "threads": 1, "precision": "fp32", "trainer": "population", "lane_width": 128, "lane_slots": 16, "steps": "fused"}');
INSERT INTO "trial_user_attributes" VALUES(60,6,'seconds','3.064');
INSERT INTO "trial_user_attributes" VALUES(61,7,'kind','"config"');
INSERT INTO "trial_user_attributes" VALUES(62,7,'of','3');
INSERT INTO "trial_user_attributes" VALUES(63,7,'seed','447464847');
INSERT INTO "trial_user_attributes" VALUES(64,7,'task_weights','{"left": 0.10830636416487316, "right": 0.8916936358351268}');
INSERT INTO "trial_user_attributes" VALUES(65,7,'owner','{"host": "vm", "boot_id": "396ae539-a1d2-4d01-915c-f52817bbc3d9", "pid": 4257, "started": 68305, "namespace": "pid:[4026531836]"}');
INSERT INTO "trial_user_attributes" VALUES(66,8,'kind','"twin"');
INSERT INTO "trial_user_attributes" VALUES(67,8,'of','3');
INSERT INTO "trial_user_attributes" VALUES(68,8,'seed','447464847');
INSERT INTO "trial_user_attributes" VALUES(69,8,'task_weights','{"left": 0.5, "right": 0.5}');
INSERT INTO "trial_user_attributes" VALUES(70,8,'owner','{"host": "vm", "boot_id": "396ae539-a1d2-4d01-915c-f52817bbc3d9", "pid": 4257, "started": 68305, "namespace": "pid:[4026531836]"}');
INSERT INTO "trial_user_attributes" VALUES(71,9,'kind','"config"');
INSERT INTO "trial_user_attributes" VALUES(72,9,'of','3');
INSERT INTO "trial_user_attributes" VALUES(73,9,'seed','1535134522');
INSERT INTO "trial_user_attributes" VALUES(74,9,'task_weights','{"left": 0.10830636416487316, "right": 0.8916936358351268}');
INSERT INTO "trial_user_attributes" VALUES(75,9,'owner','{"host": "vm", "boot_id": "396ae539-a1d2-4d01-915c-f52817bbc3d9", "pid": 4257, "started": 68305, "namespace": "pid:[4026531836]"}');
INSERT INTO "trial_user_attributes" VALUES(76,10,'kind','"twin"');
INSERT INTO "trial_user_attributes" VALUES(77,10,'of','3');
INSERT INTO "trial_user_attributes" VALUES(78,10,'seed','1535134522');
INSERT INTO "trial_user_attributes" VALUES(79,10,'task_weights','{"left": 0.5, "right": 0.5}');
INSERT INTO "trial_user_attributes" VALUES(80,10,'owner','{"host": "vm", "boot_id": "396ae539-a1d2-4d01-915c-f52817bbc3d9", "pid": 4257, "started": 68305, "namespace": "pid:[4026531836]"}');
INSERT INTO "trial_user_attributes" VALUES(81,7,'test','{"left": {"accuracy": 0.936}, "right": {"accuracy": 0.945}}');
INSERT INTO "trial_user_attributes" VALUES(82,7,'left accuracy test','0.936');
INSERT INTO "trial_user_attributes" VALUES(83,7,'right accuracy test','0.945');
INSERT INTO "trial_user_attributes" VALUES(84,7,'left accuracy','0.906');
INSERT INTO "trial_user_attributes" VALUES(85,7,'right accuracy','0.935');
INSERT INTO "trial_user_attributes" VALUES(86,7,'best_epoch','1');
INSERT INTO "trial_user_attributes" VALUES(87,7,'validation','{"left": {"accuracy": 0.906}, "right": {"accuracy": 0.935}}');
INSERT INTO "trial_user_attributes" VALUES(88,7,'epochs','2');
INSERT INTO "trial_user_attributes" VALUES(89,7,'entry_epoch','0');
INSERT INTO "trial_user_attributes" VALUES(90,7,'trained_on','{"device": "cpu", "threads": 1, "precision": "fp32", "trainer": "population", "lane_width": 128, "lane_slots": 2, "steps": "fused"}');
INSERT INTO "trial_user_attributes" VALUES(91,7,'seconds','3.001');
INSERT INTO "trial_user_attributes" VALUES(92,8,'test','{"left": {"accuracy": 0.967}, "right": {"accuracy": 0.939}}');
INSERT INTO "trial_user_attributes" VALUES(93,8,'left accuracy test','0.967');
INSERT INTO "trial_user_attributes" VALUES(94,8,'right accuracy test','0.939');
INSERT INTO "trial_user_attributes" VALUES(95,8,'left accuracy','0.948');
INSERT INTO "trial_user_attributes" VALUES(96,8,'right accuracy','0.924');
INSERT INTO "trial_user_attributes" VALUES(97,8,'best_epoch','1');
INSERT INTO "trial_user_attributes" VALUES(98,8,'validation','{"left": {"accuracy": 0.948}, "right": {"accuracy": 0.924}}');
INSERT INTO "trial_user_attributes" VALUES(99,8,'epochs','2');
INSERT INTO "trial_user_attributes" VALUES(100,8,'entry_epoch','0');
INSERT INTO "trial_user_attributes" VALUES(101,8,'trained_on','{"device": "cpu", "threads": 1, "precision": "fp32", "trainer": "population", "lane_width": 128, "lane_slots": 2, "steps": "fused"}');
INSERT INTO "trial_user_attributes" VALUES(102,8,'seconds','3.003');
INSERT INTO "trial_user_attributes" VALUES(103,9,'test','{"left": {"accuracy": 0.93}, "right": {"accuracy": 0.951}}');
INSERT INTO "trial_user_attributes" VALUES(104,9,'left accuracy test','0.93');
INSERT INTO "trial_user_attributes" VALUES(105,9,'right accuracy test','0.951');
INSERT INTO "trial_user_attributes" VALUES(106,9,'left accuracy','0.924');
INSERT INTO "trial_user_attributes" VALUES(107,9,'right accuracy','0.936');
INSERT INTO "trial_user_attributes" VALUES(108,9,'best_epoch','1');
INSERT INTO "trial_user_attributes" VALUES(109,9,'validation','{"left": {"accuracy": 0.924}, "right": {"accuracy": 0.936}}');
INSERT INTO "trial_user_attributes" VALUES(110,9,'epochs','2');
INSERT INTO "trial_user_attributes" VALUES(111,9,'entry_epoch','0');
INSERT INTO "trial_user_attributes" VALUES(112,9,'trained_on','{"device": "cpu", "threads": 1, "precision": "fp32", "trainer": "population", "lane_width": 128, "lane_slots": 2, "steps": "fused"}');
INSERT INTO "trial_user_attributes" VALUES(113,9,'seconds','3.014');
INSERT INTO "trial_user_attributes" VALUES(114,10,'test','{"left": {"accuracy": 0.964}, "right": {"accuracy": 0.955}}');
INSERT INTO "trial_user_attributes" VALUES(115,10,'left accuracy test','0.964');
INSERT INTO "trial_user_attributes" VALUES(116,10,'right accuracy test','0.955');
INSERT INTO "trial_user_attributes" VALUES(117,10,'left accuracy','0.938');
INSERT INTO "trial_user_attributes" VALUES(118,10,'right accuracy','0.921');
INSERT INTO "trial_user_attributes" VALUES(119,10,'best_epoch','1');
INSERT INTO "trial_user_attributes" VALUES(120,10,'validation','{"left": {"accuracy": 0.938}, "right": {"accuracy": 0.921}}');
INSERT INTO "trial_user_attributes" VALUES(121,10,'epochs','2');
INSERT INTO "trial_user_attributes" VALUES(122,10,'entry_epoch','0');
INSERT INTO "trial_user_attributes" VALUES(123,10,'trained_on','{"device": "cpu", "threads": 1, "precision": "fp32", "trainer": "population", "lane_width": 128, "lane_slots": 2, "steps": "fused"}');
INSERT INTO "trial_user_attributes" VALUES(124,10,'seconds','3.026');
INSERT INTO "trial_user_attributes" VALUES(125,11,'kind','"single"');
INSERT INTO "trial_user_attributes" VALUES(126,11,'of','3');
INSERT INTO "trial_user_attributes" VALUES(127,11,'seed','447464847');
INSERT INTO "trial_user_attributes" VALUES(128,11,'task','"left"');
INSERT INTO "trial_user_attributes" VALUES(129,11,'task_weights','{"left": 1.0, "right": 0.0}');
INSERT INTO "trial_user_attributes" VALUES(130,11,'owner','{"host": "vm", "boot_id": "396ae539-a1d2-4d01-915c-f52817bbc3d9", "pid": 4257, "started": 68305, "namespace": "pid:[4026531836]"}');
INSERT INTO "trial_user_attributes" VALUES(131,12,'kind','"single"');
INSERT INTO "trial_user_attributes" VALUES(132,12,'of','3');
INSERT INTO "trial_user_attributes" VALUES(133,12,'seed','1535134522');
INSERT INTO "trial_user_attributes" VALUES(134,12,'task','"left"');
INSERT INTO "trial_user_attributes" VALUES(135,12,'task_weights','{"left": 1.0, "right": 0.0}');
INSERT INTO "trial_user_attributes" VALUES(136,12,'owner','{"host": "vm", "boot_id": "396ae539-a1d2-4d01-915c-f52817bbc3d9", "pid": 4257, "started": 68305, "namespace": "pid:[4026531836]"}');
INSERT INTO "trial_user_attributes" VALUES(137,11,'test','{"left": {"accuracy": 0.973}}');
INSERT INTO "trial_user_attributes" VALUES(138,11,'left accuracy test','0.973');
INSERT INTO "trial_user_attributes" VALUES(139,11,'left accuracy','0.948');
INSERT INTO "trial_user_attributes" VALUES(140,11,'best_epoch','1');
INSERT INTO "trial_user_attributes" VALUES(141,11,'validation','{"left": {"accuracy": 0.948}}');
INSERT INTO "trial_user_attributes" VALUES(142,11,'epochs','2');
INSERT INTO "trial_user_attributes" VALUES(143,11,'entry_epoch','0');
INSERT INTO "trial_user_attributes" VALUES(144,11,'trained_on','{"device": "cpu", "threads": 1, "precision": "fp32", "trainer": "population", "lane_width": 128, "lane_slots": 1, "steps": "fused"}');
INSERT INTO "trial_user_attributes" VALUES(145,11,'seconds','2.652');
INSERT INTO "trial_user_attributes" VALUES(146,12,'test','{"left": {"accuracy": 0.973}}');
INSERT INTO "trial_user_attributes" VALUES(147,12,'left accuracy test','0.973');
INSERT INTO "trial_user_attributes" VALUES(148,12,'left accuracy','0.957');
INSERT INTO "trial_user_attributes" VALUES(149,12,'best_epoch','1');
INSERT INTO "trial_user_attributes" VALUES(150,12,'validation','{"left": {"accuracy": 0.957}}');
INSERT INTO "trial_user_attributes" VALUES(151,12,'epochs','2');
INSERT INTO "trial_user_attributes" VALUES(152,12,'entry_epoch','0');
INSERT INTO "trial_user_attributes" VALUES(153,12,'trained_on','{"device": "cpu", "threads": 1, "precision": "fp32", "trainer": "population", "lane_width": 128, "lane_slots": 1, "steps": "fused"}');
INSERT INTO "trial_user_attributes" VALUES(154,12,'seconds','2.636');
INSERT INTO "trial_user_attributes" VALUES(155,13,'kind','"single"');
INSERT INTO "trial_user_attributes" VALUES(156,13,'of','3');
INSERT INTO "trial_user_attributes" VALUES(157,13,'seed','447464847');
INSERT INTO "trial_user_attributes" VALUES(158,13,'task','"right"');
INSERT INTO "trial_user_attributes" VALUES(159,13,'task_weights','{"left": 0.0, "right": 1.0}');
INSERT INTO "trial_user_attributes" VALUES(160,13,'owner','{"host": "vm", "boot_id": "396ae539-a1d2-4d01-915c-f52817bbc3d9", "pid": 4257, "started": 68305, "namespace": "pid:[4026531836]"}');
INSERT INTO "trial_user_attributes" VALUES(161,14,'kind','"single"');
INSERT INTO "trial_user_attributes" VALUES(162,14,'of','3');
INSERT INTO "trial_user_attributes" VALUES(163,14,'seed','1535134522');
INSERT INTO "trial_user_attributes" VALUES(164,14,'task','"right"');
INSERT INTO "trial_user_attributes" VALUES(165,14,'task_weights','{"left": 0.0, "right": 1.0}');
INSERT INTO "trial_user_attributes" VALUES(166,14,'owner','{"host": "vm", "boot_id": "396ae539-a1d2-4d01-915c-f52817bbc3d9", "pid": 4257, "started": 68305, "namespace": "pid:[4026531836]"}');
INSERT INTO "trial_user_attributes" VALUES(167,13,'test','{"right": {"accuracy": 0.952}}');
INSERT INTO "trial_user_attributes" VALUES(168,13,'right accuracy test','0.952');
INSERT INTO "trial_user_attributes" VALUES(169,13,'right accuracy','0.944');
INSERT INTO "trial_user_attributes" VALUES(170,13,'best_epoch','1');
INSERT INTO "trial_user_attributes" VALUES(171,13,'validation','{"right": {"accuracy": 0.944}}');
INSERT INTO "trial_user_attributes" VALUES(172,13,'epochs','2');
INSERT INTO "trial_user_attributes" VALUES(173,13,'entry_epoch','0');
INSERT INTO "trial_user_attributes" VALUES(174,13,'trained_on','{"device": "cpu", "threads": 1, "precision": "fp32", "trainer": "population", "lane_width": 128, "lane_slots": 1, "steps": "fused"}');
INSERT INTO "trial_user_attributes" VALUES(175,13,'seconds','2.581');
INSERT INTO "trial_user_attributes" VALUES(176,14,'test','{"right": {"accuracy": 0.962}}');
INSERT INTO "trial_user_attributes" VALUES(177,14,'right accuracy test','0.962');
INSERT INTO "trial_user_attributes" VALUES(178,14,'right accuracy','0.945');
INSERT INTO "trial_user_attributes" VALUES(179,14,'best_epoch','1');
INSERT INTO "trial_user_attributes" VALUES(180,14,'validation','{"right": {"accuracy": 0.945}}');
INSERT INTO "trial_user_attributes" VALUES(181,14,'epochs','2');
INSERT INTO "trial_user_attributes" VALUES(182,14,'entry_epoch','0');
INSERT INTO "trial_user_attributes" VALUES(183,14,'trained_on','{"device": "cpu", "threads": 1, "precision": "fp32", "trainer": "population", "lane_width": 128, "lane_slots": 1, "steps": "fused"}');
INSERT INTO "trial_user_attributes" VALUES(184,14,'seconds','2.564');
CREATE TABLE trial_values (
	trial_value_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	objective INTEGER NOT NULL, 
	value FLOAT, 
	value_type VARCHAR(7) NOT NULL, 
	PRIMARY KEY (trial_value_id), 
	UNIQUE (trial_id, objective), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_values" VALUES(1,1,0,0.7965,'FINITE');
INSERT INTO "trial_values" VALUES(2,2,0,0.884,'FINITE');
INSERT INTO "trial_values" VALUES(3,3,0,0.905,'FINITE');
INSERT INTO "trial_values" VALUES(4,4,0,0.935,'FINITE');
INSERT INTO "trial_values" VALUES(5,5,0,0.2345,'FINITE');
INSERT INTO "trial_values" VALUES(6,6,0,0.1135,'FINITE');
INSERT INTO "trial_values" VALUES(7,7,0,9.20500000000000095923e-01,'FINITE');
INSERT INTO "trial_values" VALUES(8,8,0,9.35999999999999943156e-01,'FINITE');
INSERT INTO "trial_values" VALUES(9,9,0,0.93,'FINITE');
INSERT INTO "trial_values" VALUES(10,10,0,0.9295,'FINITE');
INSERT INTO "trial_values" VALUES(11,11,0,0.948,'FINITE');
INSERT INTO "trial_values" VALUES(12,12,0,0.957,'FINITE');
INSERT INTO "trial_values" VALUES(13,13,0,0.944,'FINITE');
INSERT INTO "trial_values" VALUES(14,14,0,0.945,'FINITE');
CREATE TABLE trials (
	trial_id INTEGER NOT NULL, 
	number INTEGER, 
	study_id INTEGER, 
	state VARCHAR(8) NOT NULL, 
	datetime_start DATETIME, 
	datetime_complete DATETIME, 
	PRIMARY KEY (trial_id), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "trials" VALUES(1,0,1,'COMPLETE','2026-11-28 16:23:34.515454','2026-11-28 16:23:40.158275');
INSERT INTO "trials" VALUES(2,1,1,'COMPLETE','2026-11-28 16:23:37.095746','2026-11-28 16:23:40.174790');
INSERT INTO "trials" VALUES(3,2,1,'COMPLETE','2026-11-28 16:23:37.109662','2026-11-28 16:23:40.188590');
INSERT INTO "trials" VALUES(4,3,1,'COMPLETE','2026-11-28 16:23:37.120965','2026-11-28 16:23:40.202251');
INSERT INTO "trials" VALUES(5,4,1,'COMPLETE','2026-11-28 16:23:37.132583','2026-11-28 16:23:40.206007');
INSERT INTO "trials" VALUES(6,5,1,'COMPLETE','2026-11-28 16:23:37.143148','2026-11-28 16:23:40.208517');
INSERT INTO "trials" VALUES(7,0,2,'COMPLETE','2026-11-28 16:23:40.263448','2026-11-28 16:23:43.283391');
INSERT INTO "trials" VALUES(8,1,2,'COMPLETE','2026-11-28 16:23:40.291346','2026-11-28 16:23:43.307147');
INSERT INTO "trials" VALUES(9,2,2,'COMPLETE','2026-11-28 16:23:40.303147','2026-11-28 16:23:43.329469');
INSERT INTO "trials" VALUES(10,3,2,'COMPLETE','2026-11-28 16:23:40.315210','2026-11-28 16:23:43.343248');
INSERT INTO "trials" VALUES(11,4,2,'COMPLETE','2026-11-28 16:23:43.355191','2026-11-28 16:23:46.009969');
INSERT INTO "trials" VALUES(12,5,2,'COMPLETE','2026-11-28 16:23:43.384119','2026-11-28 16:23:46.022569');
INSERT INTO "trials" VALUES(13,6,2,'COMPLETE','2026-11-28 16:23:46.035166','2026-11-28 16:23:48.618828');
INSERT INTO "trials" VALUES(14,7,2,'COMPLETE','2026-11-28 16:23:46.064066','2026-11-28 16:23:48.630734');
CREATE TABLE version_info (
	version_info_id INTEGER NOT NULL, 
	schema_version INTEGER, 
	library_version VARCHAR(256), 
	PRIMARY KEY (version_info_id), 
	CHECK (version_info_id=1)
);
INSERT INTO "version_info" VALUES(1,12,'5.0.0');
CREATE UNIQUE INDEX ix_studies_study_name ON studies (study_name);
CREATE INDEX ix_trials_study_id ON trials (study_id);
COMMIT;
